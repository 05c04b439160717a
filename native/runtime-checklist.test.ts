// Holds runtime-checklist.md to the sources, from both sides: what it names is there, and what is there is in it.
import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'

const NATIVE = fileURLToPath(new URL('.', import.meta.url))
const SOURCES = join(NATIVE, 'src')

interface Line {
  readonly line: string
  readonly answer: string
  readonly tests: readonly string[]
}

/** Where a suite may be: here, without whole processes or with them; with other programs; or beside the client. */
const places = (suite: string): string[] => [
  join(NATIVE, `${suite}.test.ts`),
  join(NATIVE, `${suite}.system.test.ts`),
  join(NATIVE, '../conformance', `${suite}.test.ts`),
  join(NATIVE, '..', `${suite}.system.test.ts`),
]

describe('the checklist of the runtime', () => {
  let lines: Line[]
  let code: string
  const suites = new Map<string, string>()

  before(async () => {
    const rows = (await readFile(join(NATIVE, 'runtime-checklist.md'), 'utf8')).match(/^\|.*\|$/gm) ?? []
    lines = rows
      .map((row) =>
        row
          .slice(1, -1)
          .split('|')
          .map((cell) => cell.trim()),
      )
      .filter(([line = '']) => line !== 'line' && !line.startsWith('---'))
      .map(([line = '', answer = '', tests = '', ...more]) => {
        assert.deepEqual(more, [], `a row has three cells: ${line}`)
        return { line, answer, tests: [...tests.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name) }
      })
    const files = (await readdir(SOURCES, { recursive: true })).filter((name) => name.endsWith('.cc'))
    const texts = await Promise.all(files.map((name) => readFile(join(SOURCES, name), 'utf8')))
    code = texts.join('\n').replaceAll(/"\s*\n\s*"/g, '') // literals that go on in the next line
  })

  async function sourceOf(suite: string): Promise<string> {
    const known = suites.get(suite)
    if (known !== undefined) return known
    for (const path of places(suite)) {
      const text = await readFile(path, 'utf8').catch(() => undefined)
      if (text === undefined) continue
      suites.set(suite, text)
      return text
    }
    return assert.fail(`there is no suite ${suite}: looked for ${places(suite).join(', ')}`)
  }

  /** Whether the suite has a test of that title; a title with a `${…}` in it fits what the suite has as a word of its own. */
  const hasTest = (source: string, name: string): boolean =>
    [...source.matchAll(/\b(?:it|test)\(\s*(['"`])((?:\\.|(?!\1)[^\\])*)\1/g)].some(([, quote, title = '']) => {
      if (title === name) return true
      if (quote !== '`') return false
      const [head = '', ...rest] = title.split(/\$\{[^}]*\}/)
      const tail = rest.join('')
      if (rest.length !== 1 || !name.startsWith(head) || !name.endsWith(tail)) return false
      const word = name.slice(head.length, name.length - tail.length)
      return ["'", '"', '`'].some((each) => source.includes(`${each}${word}${each}`))
    })

  it('has a line for everything that is asked of a runtime', () => {
    assert.ok(lines.length > 100, `${lines.length} lines`)
    assert.equal(new Set(lines.map(({ line }) => line)).size, lines.length, 'a line twice')
  })

  it('says of each line whether it is done or refused, and names the tests that hold it', async () => {
    for (const { line, answer, tests } of lines) {
      assert.match(answer, /^(does|refuses: `[^`]+`)$/, line)
      assert.notEqual(tests.length, 0, `no test for: ${line}`)
      for (const test of tests) {
        const [, suite = '', name = ''] = /^(\S+) › (.+)$/.exec(test) ?? assert.fail(`no suite and title: ${test}`)
        assert.ok(hasTest(await sourceOf(suite), name), `${suite} has no test "${name}", for: ${line}`)
      }
    }
  })

  it('quotes refusals as the sources have them, and leaves none out', () => {
    const words = lines.flatMap(({ answer }) => /^refuses: `([^`]+)`$/.exec(answer)?.[1] ?? [])
    for (const each of words) assert.ok(code.includes(each), `nothing is refused with: ${each}`)
    for (const [, what = ''] of code.matchAll(/RefuseUnsupported\("([^"]+)"\)/g)) {
      assert.ok(words.includes(what), `the checklist does not say that this is refused: ${what}`)
    }
  })

  it('has every verb and option of the command line', async () => {
    const all = lines.map(({ line }) => line).join(' ')
    const main = await readFile(join(SOURCES, 'runtime/main.cc'), 'utf8')
    const options = await readFile(join(SOURCES, 'runtime/options.cc'), 'utf8')
    const verbs = [...main.matchAll(/^ {4}\{"([a-z]+)", (?:true|false), /gm)].map(([, verb]) => `\`${verb}\``)
    const names = [...options.matchAll(/^ {4}\{"([a-z-]+)",\s*"/gm)].map(([, name]) => `\`--${name}\``)
    assert.ok(verbs.length > 15 && names.length > 50, `${verbs.length} verbs, ${names.length} options`)
    for (const each of [...verbs, ...names]) assert.ok(all.includes(each), `no line for ${each}`)
  })
})
