/** The suite that the specification's authors wrote, at its strictest, against a registry started the way a user starts it. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startGantry } from './support/gantry-serve.ts'
import { goIsMissing } from './support/go-tool.ts'
import { runUpstreamSuite, type SuiteReport } from './upstream.ts'

/** What the suite calls the endpoints of the categories "pull" and "push". */
const PULL = /^(Ping|Blob get|Blob get range|Blob head|Manifest (get|head) by (tag|digest))$/
const PUSH = /^(Blob (push|post only|post put|chunked|streaming|mount|anonymous mount|upload cancel)|Manifest put .*)$/

const missing = await goIsMissing()

test('the upstream conformance suite finds nothing to object to in pull and push', {
  skip: missing ?? false,
}, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'gantry-conformance-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  // The suite's sparse data set pushes an image without its first layer, which only this policy takes.
  await using registry = await startGantry({ env: { ...process.env, GANTRY_REFERENCES: 'sparse' } })
  const report = await runUpstreamSuite(registry.host, directory)

  for (const line of summary(report)) t.diagnostic(line)
  const gated = Object.entries(report.apis).filter(([api]) => PULL.test(api) || PUSH.test(api))
  assert.ok(gated.length >= 15, `the report names the endpoints: ${gated.map(([api]) => api).join(', ')}`)
  const failed = gated.filter(([, status]) => status !== 'Pass')
  assert.deepEqual(failed, [], `${report.text}\n--- registry ---\n${registry.log()}`)
})

function summary({ apis, data, text }: SuiteReport): string[] {
  const lines = [...Object.entries(apis), ...Object.entries(data)].map(([what, status]) => `${status}: ${what}`)
  const counts = Map.groupBy([...text.matchAll(/: (Pass|Skip|FAIL|Disabled|Error)$/gm)], ([, status]) => status)
  return [[...counts].map(([status, tests]) => `${tests.length} ${status}`).join(', '), ...lines.toSorted()]
}
