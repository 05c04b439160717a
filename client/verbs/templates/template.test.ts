import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { compileTemplate, TemplateError } from './template.ts'

const data = {
  ID: 'abc',
  Names: '/web',
  State: { Status: 'running', Pid: 42, Health: null, Later: undefined },
  Config: { Labels: { tier: 'front', 'a.b': 'dotted' }, Env: ['A=1', 'B=2'] },
  Mounts: [
    { Source: '/data', RW: true },
    { Source: '/logs', RW: false },
  ],
}
const shown = (template: string): string => compileTemplate(template)(data)

describe('a template', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['{{.ID}}', 'abc'],
    ['id={{ .ID }} {{.State.Status}}', 'id=abc running'],
    ['{{json .State}}', '{"Status":"running","Pid":42,"Health":null}'],
    ['{{json .Config.Env}}', '["A=1","B=2"]'],
    ['{{.Config.Labels.tier}}', 'front'],
    ['{{index .Config.Labels "a.b"}}', 'dotted'],
    ['{{index .Config.Labels "nothing"}}', ''],
    ['{{.Config.Labels.nothing}}', '<no value>'],
    ['{{.State.Later}}', '<nil>'],
    ['{{slice .Names 1}} {{slice .ID 0 2}} {{slice .Config.Env 1}}', 'web ab [B=2]'],
    ['{{range .Mounts}}{{.Source}} {{end}}', '/data /logs '],
    ['{{range $i, $m := .Mounts}}{{$i}}:{{$m.Source}};{{end}}', '0:/data;1:/logs;'],
    ['{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} {{end}}', 'a.b=dotted tier=front '],
    ['{{range .Nets}}x{{else}}none{{end}}', 'none'],
    ['{{if .State.Health}}{{.State.Health}}{{else}}no check{{end}}', 'no check'],
    ['{{if eq .State.Status "paused"}}p{{else if eq .State.Status "running"}}r{{else}}o{{end}}', 'r'],
    ['{{with .State}}{{.Pid}}{{end}}', '42'],
    ['{{join .Config.Env ", "}}', 'A=1, B=2'],
    ['{{.State.Status | upper | printf "%-10s|"}}', 'RUNNING   |'],
    ['{{len .Mounts}}', '2'],
    ['{{(index .Mounts 1).Source}}', '/logs'],
    ['{{$x := .ID}}{{$x}}{{$.Names}}', 'abc/web'],
    ['a {{- .ID -}} b', 'aabcb'],
    ['{{/* nothing */}}x', 'x'],
    ['{{.Config.Env}} {{.State.Pid}} {{.Config.Labels}}', '[A=1 B=2] 42 map[a.b:dotted tier:front]'],
    ['{{not .State.Health}} {{and .ID .Names}} {{or .State.Health "x"}}', 'true /web x'],
    ['{{println .ID}}', 'abc\n'],
  ]
  for (const [template, expected] of cases)
    it(`${template} shows ${JSON.stringify(expected)}`, () =>
      assert.equal(compileTemplate(template)({ ...data, Nets: [] }), expected))

  for (const [template, reason] of [
    ['{{.ID', /unclosed action/],
    ['{{.Nothing}}', /there is no field Nothing here; there are ID, Names/],
    ['{{.ID.More}}', /can't evaluate field More/],
    ['{{frobnicate .ID}}', /function "frobnicate" not defined/],
    ['{{if .ID}}x', /without \{\{end\}\}/],
    ['{{end}}', /unexpected \{\{end\}\}/],
    ['{{}}', /missing value/],
    ['{{slice .ID 1 9}}', /index out of range: 9/],
    ['{{index .Mounts 2}}', /index out of range: 2/],
    ['{{index .ID 0}}', /has no elements/],
    ['{{constructor .ID}}', /not defined/],
  ] as const)
    it(`${template} is refused with a reason`, () =>
      assert.throws(
        () => shown(template),
        (error: Error) => error instanceof TemplateError && reason.test(error.message),
      ))
})
