/** Three processes on one bucket: nothing else is shared, nobody is sticky, and any of them may be killed. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request } from 'node:http'
import { after, before, describe, it } from 'node:test'
import { pullBlob } from './support/blobs.ts'
import { until } from './support/commands.ts'
import { type ServedRegistry, startGantry } from './support/gantry-serve.ts'
import { type S3Server, s3Kinds, startS3 } from './support/s3-server.ts'
import { Workspace } from './support/workspace.ts'

const MIB = 1024 * 1024
const REPLICAS = 3
const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json'
const sha256 = (bytes: Uint8Array | string): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

for (const { kind, skip } of await s3Kinds()) {
  describe(`${REPLICAS} replicas on ${kind}`, { skip }, () => {
    let workspace: Workspace
    let server: S3Server
    let replicas: ServedRegistry[]

    const startReplica = (port = 0): Promise<ServedRegistry> => {
      const env = { ...workspace.env, ...server.env('store'), GANTRY_REFERENCES: 'sparse', GANTRY_S3_PART_SIZE: '5MiB' }
      return startGantry({ env, port })
    }
    before(async () => {
      workspace = await Workspace.open()
      server = await startS3(kind, workspace.env)
      replicas = await Promise.all(Array.from({ length: REPLICAS }, () => startReplica()))
    })
    after(async () => {
      for (const replica of replicas ?? []) await replica[Symbol.asyncDispose]()
      await server?.[Symbol.asyncDispose]()
      const left = await workspace.leftovers()
      await workspace[Symbol.asyncDispose]()
      assert.deepEqual(left, [])
    })
    const url = (turn: number): string => (replicas[turn % REPLICAS] as ServedRegistry).url

    it('go on with an upload that another one began, request by request', async () => {
      const content = randomBytes(13 * MIB + 77)
      let location = (await ask(url(0), 'POST', '/v2/hop/blobs/uploads/')).location
      const chunk = 3 * MIB
      for (let [offset, turn] = [0, 1]; offset < content.length; offset += chunk, turn += 1) {
        const body = content.subarray(offset, offset + chunk)
        const range = `${offset}-${offset + body.length - 1}`
        const patched = await ask(url(turn), 'PATCH', location, { body, headers: { 'Content-Range': range } })
        assert.equal(patched.status, 202)
        assert.equal((await ask(url(turn + 1), 'GET', location)).headers['range'], `0-${offset + body.length - 1}`)
        location = patched.location
      }
      const digest = sha256(content)
      assert.equal((await ask(url(1), 'PUT', `${location}?digest=${digest}`)).status, 201)
      assert.equal(
        (await ask(url(2), 'PUT', `${location}?digest=${digest}`)).status,
        201,
        'the answer was lost: once more',
      )
      for (let turn = 0; turn < REPLICAS; turn += 1) assert.equal(await pullBlob(url(turn), 'hop', digest), digest)
    })

    it('see at once what another one has taken, moved or deleted', async () => {
      const config = Buffer.from('{}')
      const manifests = [1, 2].map((n) => {
        const of = {
          mediaType: 'application/vnd.oci.image.config.v1+json',
          digest: sha256(config),
          size: config.length,
        }
        return JSON.stringify({
          schemaVersion: 2,
          mediaType: MANIFEST_TYPE,
          config: of,
          layers: [],
          annotations: { n: `${n}` },
        })
      })
      const headers = { 'Content-Type': MANIFEST_TYPE }
      for (let round = 0; round < 12; round += 1) {
        const body = manifests[round % 2] ?? ''
        assert.equal((await ask(url(round), 'PUT', '/v2/seen/manifests/t', { body, headers })).status, 201)
        for (const other of [1, 2]) {
          const got = await ask(url(round + other), 'GET', '/v2/seen/manifests/t')
          assert.equal(got.headers['docker-content-digest'], sha256(body))
        }
      }
      assert.equal((await ask(url(0), 'DELETE', `/v2/seen/manifests/${sha256(manifests[1] ?? '')}`)).status, 202)
      for (const turn of [0, 1, 2]) {
        assert.equal((await ask(url(turn), 'GET', '/v2/seen/manifests/t')).status, 404)
        assert.deepEqual(JSON.parse((await ask(url(turn), 'GET', '/v2/seen/tags/list')).text).tags, [])
      }
    })

    it('lose nothing acknowledged when one is killed in the middle of an upload', async (t) => {
      const content = randomBytes(48 * MIB)
      const victim = replicas[0] as ServedRegistry
      const { location } = await ask(victim.url, 'POST', '/v2/killed/blobs/uploads/')
      const patch = request(new URL(location, victim.url), { method: 'PATCH' })
      const broken = once(patch, 'error').catch(() => {})
      for (let offset = 0; offset < 40 * MIB; offset += MIB) {
        if (!patch.write(content.subarray(offset, offset + MIB))) await Promise.race([once(patch, 'drain'), broken])
      }
      const acknowledged = await until('a checkpoint', 60_000, async () => {
        const { range = '' } = (await ask(url(1), 'GET', location)).headers
        const end = Number(String(range).split('-')[1])
        return end > 0 ? end + 1 : undefined
      })
      await victim[Symbol.asyncDispose]() // by SIGKILL
      patch.destroy()

      const status = await ask(url(1), 'GET', location)
      const offset = Number(String(status.headers['range']).split('-')[1]) + 1
      t.diagnostic(`${offset / MIB} of ${40} MiB were recorded when it was killed`)
      assert.ok(offset >= acknowledged)
      const rest = await ask(url(2), 'PATCH', status.location, { body: content.subarray(offset) })
      assert.equal(rest.status, 202)
      const digest = sha256(content)
      assert.equal((await ask(url(1), 'PUT', `${rest.location}?digest=${digest}`)).status, 201)
      assert.equal(await pullBlob(url(2), 'killed', digest), digest)
      assert.deepEqual(await server.parts(), [], 'no part of an upload is left')
      replicas[0] = await startReplica(Number(new URL(victim.url).port))
      assert.equal(await pullBlob(url(0), 'killed', digest), digest)
    })
  })
}

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly location: string
  readonly text: string
}

/** Over a connection of its own. */
async function ask(
  url: string,
  method: string,
  path: string,
  {
    body,
    headers = {},
  }: { readonly body?: Uint8Array | string; readonly headers?: Readonly<Record<string, string>> } = {},
): Promise<Answer> {
  const length = { 'Content-Length': String(body === undefined ? 0 : Buffer.byteLength(body)) }
  const asking = request(new URL(path, url), { method, agent: false, headers: { ...length, ...headers } })
  asking.end(body)
  const [answer] = await once(asking, 'response')
  const text = Buffer.concat(await Array.fromAsync(answer as AsyncIterable<Buffer>)).toString()
  return { status: answer.statusCode, headers: answer.headers, location: answer.headers.location ?? '', text }
}
