/** `gantry storage verify` beside a running registry, on a disk and on a real S3 server, whose own files are what gets damaged. */
import assert from 'node:assert/strict'
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { until } from '../conformance/support/commands.ts'
import { s3Kinds, startS3 } from '../conformance/support/s3-server.ts'
import { sha256, someBytes } from './testing/content.ts'
import { type GantryProcess, runGantry, serveGantry, startGantry } from './testing/gantry-process.ts'

const MIB = 2 ** 20

interface Event {
  readonly event: string
  readonly [field: string]: unknown
}

const eventsOf = (text: string): Event[] =>
  text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Event)

async function pushByUpload({ url }: GantryProcess, bytes: Buffer): Promise<string> {
  const digest = sha256(bytes)
  const { headers } = await fetch(`${url}/v2/a/blobs/uploads/`, { method: 'POST' })
  const location = new URL(headers.get('location') ?? '', url)
  location.searchParams.set('digest', digest)
  const { status } = await fetch(location, { method: 'PUT', body: new Uint8Array(bytes) })
  assert.equal(status, 201)
  return digest
}

const statusOf = async ({ url }: GantryProcess, digest: string): Promise<number> =>
  (await fetch(`${url}/v2/a/blobs/${digest}`, { method: 'HEAD' })).status

/** In the one file below `folder` that has the bytes; unless it is to be `dated`, the file's date stays, as when a disk fails. */
async function damage(folder: string, bytes: Buffer, { dated = false } = {}): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  for (const entry of entries.filter((each) => each.isFile())) {
    await using file = await open(join(entry.parentPath, entry.name), 'r+')
    const { size, atime, mtime } = await file.stat()
    if (size !== bytes.length) continue
    const middle = Buffer.alloc(64)
    await file.read(middle, 0, middle.length, size >> 1)
    if (!middle.equals(bytes.subarray(size >> 1, (size >> 1) + 64))) continue
    await file.write(Buffer.of((middle[0] ?? 0) ^ 1), 0, 1, size >> 1)
    if (!dated) await file.utimes(atime, mtime)
    return
  }
  assert.fail('no file has these bytes')
}

function describeVerify(
  what: string,
  skip: string | false,
  begin: () => Promise<{ readonly env: Record<string, string>; readonly folder?: string } & AsyncDisposable>,
): void {
  describe(`gantry storage verify ${what}`, { skip }, () => {
    it('finds what is damaged, sets it aside beside a running registry, and ends well once it was pushed again', async () => {
      await using place = await begin()
      await using gantry = await serveGantry({ env: place.env })
      const env = { ...place.env, GANTRY_DATA: gantry.data }
      const contents = [someBytes(2 * MIB), someBytes(3 * MIB), someBytes(100_000)]
      const digests: string[] = []
      for (const bytes of contents) digests.push(await pushByUpload(gantry, bytes))
      const [whole = '', damaged = ''] = digests
      assert.equal((await runGantry(['storage', 'verify'], env)).code, 0)

      await damage(place.folder ?? gantry.data, contents[1] as Buffer)
      assert.equal(await statusOf(gantry, damaged), 200, 'nobody has looked yet')
      const found = await runGantry(['storage', 'verify', '--json'], env)
      assert.equal(found.code, 1)
      assert.match(found.stderr, /1 of 6 are damaged/)
      // On a slow machine it says in between how far it is.
      const [, report, end] = eventsOf(found.stdout).filter(({ event }) => event !== 'progress')
      assert.deepEqual([report?.event, report?.['kind'], report?.['digest']], ['damaged', 'blob', damaged])
      assert.ok(report?.['keptAt'])
      assert.deepEqual([end?.event, end?.['blobs'], end?.['damaged']], ['end', 3, 1])
      assert.deepEqual([await statusOf(gantry, damaged), await statusOf(gantry, whole)], [404, 200])

      assert.equal(await pushByUpload(gantry, contents[1] as Buffer), damaged)
      assert.equal(await statusOf(gantry, damaged), 200)
      const again = await runGantry(['storage', 'verify'], env)
      assert.deepEqual([again.code, again.stderr], [0, ''])
      assert.match(again.stdout, /^verified 3 blobs \(5 MiB\), 0 manifests, 3 records, 0 damaged\n$/)
    })

    it('goes on where it was killed', async () => {
      await using place = await begin()
      await using gantry = await serveGantry({ env: place.env })
      const env = { ...place.env, GANTRY_DATA: gantry.data }
      for (let count = 0; count < 20; count += 1) await pushByUpload(gantry, someBytes(MIB))
      const slow = startGantry(['storage', 'verify', '--json', '--rate', '3MiB'], env)
      let killed: Event | undefined
      try {
        killed = await until('some of it to be verified and recorded', 60_000, () =>
          eventsOf(slow.said()).find(({ event, blobs }) => event === 'progress' && Number(blobs) >= 5),
        )
      } finally {
        slow.child.kill('SIGKILL')
        await slow.exit
      }
      const { code, stdout } = await runGantry(['storage', 'verify', '--json'], env)
      const events = eventsOf(stdout)
      const [begin_, end] = [events[0], events.at(-1)] // a slow machine reports its progress in between
      assert.equal(code, 0)
      assert.equal(begin_?.['startedAt'], killed?.['startedAt'])
      assert.ok(Number(begin_?.['blobs']) > 0 && Number(begin_?.['blobs']) < 20, stdout)
      assert.deepEqual([end?.event, end?.['blobs'], end?.['bytes']], ['end', 20, 20 * MIB])
    })
  })
}

describe('a registry that meets damage itself', () => {
  it('cuts the answer, says so in the logs, and counts it', async () => {
    await using gantry = await serveGantry({ env: { GANTRY_AUDIT_LOG: 'stderr' } })
    const bytes = someBytes(3 * MIB)
    const digest = await pushByUpload(gantry, bytes)
    await damage(gantry.data, bytes, { dated: true })
    await assert.rejects(async () => await (await fetch(`${gantry.url}/v2/a/blobs/${digest}`)).arrayBuffer())
    assert.equal(await statusOf(gantry, digest), 404)
    const found = gantry.logged().filter((line) => line['digest'] === digest && line['keptAt'] !== undefined)
    assert.deepEqual(
      found.map(({ event, msg }) => event ?? msg),
      ['stored content is damaged; pushing it again repairs it', 'damage'],
    )
    const metrics = await (await fetch(`${gantry.metricsUrl}/metrics`)).text()
    assert.match(metrics, /^gantry_damaged_total 1$/m)
  })
})

describeVerify('on a disk', false, async () => ({ env: {}, async [Symbol.asyncDispose]() {} }))

for (const { kind, skip } of await s3Kinds()) {
  if (kind === 'minio') continue // its own format of files hides the bytes, and it checks them itself
  describeVerify(`on ${kind}`, skip, async () => {
    const server = await startS3(kind)
    return {
      env: server.env('verify/') as Record<string, string>,
      folder: server.folder,
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    }
  })
}
