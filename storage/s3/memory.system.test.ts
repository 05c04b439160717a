/** What a registry holds in memory while many large uploads go to a bucket: what it was told, and a base that does not grow with them. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { it } from 'node:test'
import { Content, pushBlob } from '../../conformance/support/blobs.ts'
import { s3Kinds, startS3 } from '../../conformance/support/s3-server.ts'
import { serveGantry } from '../../server/testing/gantry-process.ts'

const MIB = 2 ** 20
const PARTS_BYTES = 16 * MIB
/** Of sockets, of bodies on their way into parts, and of V8: for all uploads together. What 40 parts need is 320 MiB. */
const BESIDE_BYTES = 200 * MIB
const UPLOADS = 40
const SIZE = 20_000_000

const [{ skip } = { skip: 'no S3 server' }] = await s3Kinds()

it('many uploads at once need no more memory than they may, and wait for each other', { skip }, async () => {
  await using server = await startS3()
  const env = { ...server.env('memory/'), GANTRY_S3_MEMORY: `${PARTS_BYTES / MIB}MiB` }
  await using gantry = await serveGantry({ env: env as Record<string, string> })
  const before = await residentBytes(gantry.child.pid, 'VmRSS')
  await Promise.all(
    Array.from({ length: UPLOADS }, async () => {
      const content = new Content(SIZE)
      await pushBlob(gantry.url, 'a', content, content.digest())
    }),
  )
  const most = await residentBytes(gantry.child.pid, 'VmHWM')
  assert.ok(most < before + PARTS_BYTES + BESIDE_BYTES, `${most / MIB} MiB, ${before / MIB} before`)
})

async function residentBytes(pid: number | undefined, field: 'VmRSS' | 'VmHWM'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const [, kib] = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status) ?? []
  return Number(kib ?? assert.fail(status)) * 1024
}
