/** A folder that the registry may not read, or not write: what clients are told, what is kept, and that nobody has to restart anything. */
import assert from 'node:assert/strict'
import { chmod, chown, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { MANIFEST_TYPE, sha256, someBytes } from './testing/content.ts'
import { serveGantry } from './testing/gantry-process.ts'
import { begin, close, send } from './testing/slow-push.ts'

const MIB = 2 ** 20
const skip = process.getuid?.() === 0 ? false : 'needs root: it runs a registry as somebody else'
/** Nobody. */
const OTHER_UID = 65_534

/** A folder of the other user, and in it, when that runs, the registry's. */
async function foreignFolder(): Promise<{ readonly data: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'gantry-foreign-'))
  await chown(path, OTHER_UID, OTHER_UID)
  return {
    data: join(path, 'data'),
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true })
    },
  }
}

async function foldersOf(path: string): Promise<string[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  return [path, ...entries.filter((entry) => entry.isDirectory()).map(({ parentPath, name }) => join(parentPath, name))]
}

async function pushImage(url: string, layer: Buffer): Promise<void> {
  for (const bytes of [layer, Buffer.from('{}')]) assert.equal(await close(await begin(url), sha256(bytes), bytes), 201)
  const config = { mediaType: 'application/vnd.oci.empty.v1+json', digest: sha256('{}'), size: 2 }
  const layers = [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: sha256(layer), size: layer.length }]
  const { status } = await fetch(`${url}/v2/a/manifests/t`, {
    method: 'PUT',
    headers: { 'Content-Type': MANIFEST_TYPE },
    body: JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST_TYPE, config, layers }),
  })
  assert.equal(status, 201)
}

describe('a registry that runs as another user than root', { skip }, () => {
  it('says so when its folder is forbidden to it, and goes on, uploads too, when it may again', async () => {
    await using folder = await foreignFolder()
    await using gantry = await serveGantry({ data: folder.data, uid: OTHER_UID })
    const { url } = gantry
    const [layer, content] = [someBytes(2 * MIB), someBytes(3 * MIB)]
    await pushImage(url, layer)
    const first = await send('PATCH', await begin(url), content.subarray(0, MIB))
    assert.equal(first.status, 202)
    const reads = [
      `blobs/${sha256(layer)}`,
      `blobs/${sha256('{}')}`,
      'manifests/t',
      'tags/list',
      `referrers/${sha256(layer)}`,
    ]
    const [readable, catalog] = [reads.map((path) => new URL(`${url}/v2/a/${path}`)), new URL(`${url}/v2/_catalog`)]

    await chmod(folder.data, 0)
    for (const to of [...readable, catalog]) {
      const { status, reason } = await send('GET', to)
      assert.deepEqual([status, reason], [503, 'permission denied'], to.pathname)
    }
    for (const [method, to] of [
      ['POST', new URL(`${url}/v2/a/blobs/uploads/`)],
      ['PATCH', first.location],
      ['DELETE', new URL(`${url}/v2/a/manifests/t`)],
    ] as const) {
      const { status, reason } = await send(method, to, method === 'PATCH' ? content.subarray(MIB) : undefined)
      assert.deepEqual([status, reason], [503, 'permission denied'], method)
    }
    assert.ok(
      gantry.logged().some(({ err }) => /EACCES/.test(JSON.stringify(err ?? ''))),
      'the log says why',
    )

    await chmod(folder.data, 0o700)
    for (const to of [...readable, catalog]) assert.equal((await send('GET', to)).status, 200, to.pathname)
    assert.equal((await send('GET', first.location)).range, `0-${MIB - 1}`)
    assert.equal(await close(first.location, sha256(content), content.subarray(MIB)), 201)
  })

  it('still reads what it may not write, and writes when it may', async () => {
    await using folder = await foreignFolder()
    await using gantry = await serveGantry({ data: folder.data, uid: OTHER_UID })
    const { url } = gantry
    const layer = someBytes(2 * MIB)
    await pushImage(url, layer)
    const location = await begin(url)
    const folders = await foldersOf(folder.data)
    for (const each of folders) await chmod(each, 0o500)
    for (const path of [`blobs/${sha256(layer)}`, 'manifests/t', 'tags/list']) {
      assert.equal((await send('GET', new URL(`${url}/v2/a/${path}`))).status, 200, path)
    }
    const more = someBytes(MIB)
    for (const to of [location, new URL(`${url}/v2/a/blobs/uploads/?digest=${sha256(more)}`)]) {
      const { status, reason } = await send(to === location ? 'PATCH' : 'POST', to, more)
      assert.deepEqual([status, reason], [503, 'permission denied'])
    }
    for (const each of folders) await chmod(each, 0o700)
    assert.equal(await close(location, sha256(more), more), 201)
  })

  it('says so of what alone was left to somebody else, as by a restore that root made', async () => {
    await using folder = await foreignFolder()
    await using gantry = await serveGantry({ data: folder.data, uid: OTHER_UID })
    const { url } = gantry
    const layer = someBytes(2 * MIB)
    await pushImage(url, layer)
    await chown(join(folder.data, 'blobs'), 0, 0)
    const { status, reason } = await send('GET', new URL(`${url}/v2/a/blobs/${sha256(layer)}`))
    assert.deepEqual([status, reason], [503, 'permission denied'])
    assert.equal((await send('GET', new URL(`${url}/v2/a/manifests/t`))).status, 200)
    await chown(join(folder.data, 'blobs'), OTHER_UID, OTHER_UID)
    assert.equal((await send('GET', new URL(`${url}/v2/a/blobs/${sha256(layer)}`))).status, 200)
  })

  it('does not start on a folder that is forbidden to it, and says why', async () => {
    await using folder = await foreignFolder()
    await mkdir(folder.data, { mode: 0o700 })
    await assert.rejects(async () => {
      await using _never = await serveGantry({ data: folder.data, uid: OTHER_UID })
    }, /permission denied/)
  })
})
