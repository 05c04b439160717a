/**
 * The suite that the specification's authors wrote, at its strictest: every test of its report has to pass. What it skips
 * counts as failed, and so does a report with too few tests.
 */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { allContent } from './interop/content.ts'
import { pushOver } from './interop/moves.ts'
import { setUps } from './set-ups.ts'
import { startGantry } from './support/gantry-serve.ts'
import { goIsMissing } from './support/go-tools.ts'
import { LEAST_TESTS, objections, runReadOnlySuite, runUpstreamSuite } from './upstream.ts'

const missing = await goIsMissing()
const tested = await setUps()

describe('the upstream conformance suite finds nothing to object to, and skips nothing', {
  skip: missing ?? false,
}, () => {
  let directory: string
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'gantry-conformance-'))
  })
  after(() => rm(directory, { recursive: true, force: true }))

  for (const { name, skip, open } of tested) {
    it(`from ${name}`, { skip }, async (t) => {
      await using setUp = await open(await mkdtemp(join(directory, 'set-up-')))
      const report = await runUpstreamSuite(setUp.host, await mkdtemp(join(directory, 'report-')), setUp.suite)
      t.diagnostic(`${report.tests.length} tests, ${Object.keys(report.apis).length} endpoints and behaviours`)
      assert.deepEqual(objections(report), [], `${report.text}\n--- registry ---\n${setUp.log()}`)
      assert.ok(report.tests.length >= LEAST_TESTS, `only ${report.tests.length} tests`)
      await setUp.verify()
    })
  }

  it('from a registry that is read-only, asked for what was pushed before', async (t) => {
    const dataDirectory = await mkdtemp(join(directory, 'data-'))
    const contents = await allContent()
    {
      await using writable = await startGantry({ dataDirectory })
      for (const content of contents) await pushOver(writable.url, 'conformance/a', content, content.slug)
    }
    await using registry = await startGantry({ dataDirectory, env: { ...process.env, GANTRY_READONLY: 'true' } })
    const known = {
      tags: contents.map(({ slug }) => slug),
      manifests: contents.flatMap(({ manifests }) => [...manifests.keys()]),
      blobs: [...new Set(contents.flatMap(({ blobs }) => [...blobs.keys()]))],
      subjects: contents.map(({ root }) => root.digest),
    }
    const report = await runReadOnlySuite(registry.host, await mkdtemp(join(directory, 'report-')), known)
    const said = `${report.text}\n--- registry ---\n${registry.log()}`
    const named = (status: string): string[] =>
      report.tests.flatMap((test) => (test.status === status ? [test.name] : []))
    t.diagnostic(`${named('Pass').length} tests pass`)
    for (const status of ['FAIL', 'Skip', 'Error']) assert.deepEqual(named(status), [], said)
    // What is switched off is what pushes and deletes.
    assert.deepEqual(
      named('Disabled').filter((name) => !/(^|\/)(sha\d+ blobs|push|delete|manifest-put)(\/|$)/.test(name)),
      [],
      said,
    )
    const head = named('Pass').filter((name) => name.startsWith('read-only/head/')).length
    const get = named('Pass').filter((name) => name.startsWith('read-only/pull/')).length
    const asked = known.tags.length + known.manifests.length + known.blobs.length
    assert.deepEqual([head, get], [asked, asked], said)
    assert.ok(named('Pass').includes('read-only/referrers'), said)
  })
})
