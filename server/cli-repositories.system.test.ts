import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { sha256 } from './testing/content.ts'
import { runGantry, serveGantry } from './testing/gantry-process.ts'

const CONFIG = Buffer.from('{}')
const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json'
const MANIFEST = JSON.stringify({
  schemaVersion: 2,
  mediaType: MANIFEST_TYPE,
  config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: sha256(CONFIG), size: CONFIG.length },
  layers: [],
})

async function push(url: string, repository: string, ...tags: readonly string[]): Promise<void> {
  const upload = await fetch(`${url}/v2/${repository}/blobs/uploads/?digest=${sha256(CONFIG)}`, {
    method: 'POST',
    body: CONFIG,
  })
  assert.equal(upload.status, 201)
  for (const tag of tags) {
    const headers = { 'Content-Type': MANIFEST_TYPE }
    const put = await fetch(`${url}/v2/${repository}/manifests/${tag}`, { method: 'PUT', body: MANIFEST, headers })
    assert.equal(put.status, 201)
  }
}

const rows = (output: string): string[][] =>
  output
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/ +/))

describe('gantry repo', () => {
  it('lists what there is, in pages if asked, and deletes beside a running registry', async () => {
    await using gantry = await serveGantry()
    await push(gantry.url, 'a/one', 'v1', 'v2')
    await push(gantry.url, 'b', 'latest')
    await push(gantry.url, 'c', 'latest')
    const data = ['--data', gantry.data]

    const list = await runGantry(['repo', 'list', ...data])
    assert.deepEqual(rows(list.stdout), [
      ['REPOSITORY', 'TAGS', 'MANIFESTS'],
      ['a/one', '2', '1'],
      ['b', '1', '1'],
      ['c', '1', '1'],
    ])
    const page = await runGantry(['repo', 'list', '--json', '--after', 'a/one', '--limit', '1', ...data])
    assert.deepEqual(JSON.parse(page.stdout), { repository: 'b', tags: 1, manifests: 1 })

    const unasked = await runGantry(['repo', 'delete', 'a/one', ...data])
    assert.deepEqual([unasked.code, unasked.stdout], [1, ''])
    assert.match(unasked.stderr, /no terminal .*--yes/)
    const deleted = await runGantry(['repo', 'delete', 'a/one', '--yes', ...data])
    assert.equal(deleted.code, 0, deleted.stderr)
    assert.match(
      deleted.stdout,
      /^a\/one is gone: 2 tags, 1 manifests, links to 1 blobs\n.*until garbage is collected\n$/,
    )

    const gone = await fetch(`${gantry.url}/v2/a/one/tags/list`)
    assert.equal(gone.status, 404)
    assert.match(await gone.text(), /NAME_UNKNOWN/)
    assert.equal((await fetch(`${gantry.url}/v2/a/one/manifests/v1`)).status, 404)
    assert.equal((await fetch(`${gantry.url}/v2/a/one/blobs/${sha256(CONFIG)}`)).status, 404)
    const catalog = (await (await fetch(`${gantry.url}/v2/_catalog`)).json()) as { repositories: string[] }
    assert.deepEqual(catalog.repositories, ['b', 'c'])
    const mount = `${gantry.url}/v2/d/blobs/uploads/?mount=${sha256(CONFIG)}&from=a/one`
    assert.equal((await fetch(mount, { method: 'POST' })).status, 202)

    await push(gantry.url, 'a/one', 'v2')
    const tags = (await (await fetch(`${gantry.url}/v2/a/one/tags/list`)).json()) as { tags: string[] }
    assert.deepEqual(tags.tags, ['v2'])
    const again = await runGantry(['repo', 'delete', 'nowhere', '--yes', '--json', ...data])
    assert.equal(again.code, 1)
    assert.match(again.stderr, /^gantry repo delete: no manifest was ever pushed to nowhere/)
  })
})
