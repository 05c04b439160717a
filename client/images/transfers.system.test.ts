/** Pulls and pushes as processes of their own: two at once, and killed at seeded points. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { imageOf, noise } from '../../conformance/interop/content.ts'
import { pushOver } from '../../conformance/interop/moves.ts'
import { closed, killGroup, startGroup, succeed } from '../../conformance/support/commands.ts'
import { LAUNCHER } from '../../conformance/support/gantry-serve.ts'
import { type ServedApp, serveApp } from '../../server/testing/served-app.ts'
import { type Between, between } from '../testing/between.ts'

const MiB = 1024 * 1024
const LAYERS = [24 * MiB, 12 * MiB, 3000]

describe('a transfer', () => {
  let app: ServedApp
  let folder: string
  let total: number
  before(async () => {
    app = await serveApp()
    folder = await mkdtemp(join(tmpdir(), 'gantry-transfers-'))
    const content = await imageOf('transfers', LAYERS)
    total = [...content.blobs.values()].reduce((sum, bytes) => sum + bytes.length, 0)
    await pushOver(app.url, 'team/app', content)
  })
  after(async () => {
    await app[Symbol.asyncDispose]()
    await rm(folder, { recursive: true, force: true })
  })
  const environment = (): NodeJS.ProcessEnv => ({ ...process.env, HOME: folder, XDG_STATE_HOME: folder })
  const started = (...args: readonly string[]) =>
    startGroup(process.execPath, [LAUNCHER, ...args], { env: environment(), stdio: 'ignore' })
  const gantry = (...args: readonly string[]): Promise<string> =>
    succeed(process.execPath, [LAUNCHER, ...args], { env: environment() })
  const blobGets = ({ requests }: Between): readonly string[] =>
    requests.flatMap(({ method, url }) => (method === 'GET' && url.includes('/blobs/sha256') ? [url] : []))

  it('of one image by two processes at once fetches each layer once', async () => {
    await using link = await between(app.url)
    const root = join(folder, 'twice')
    const pull = ['--root', root, 'pull', '--quiet', `${link.host}/team/app:v1`]
    await Promise.all([gantry(...pull), gantry(...pull)])
    const asked = blobGets(link)
    assert.equal(asked.length, LAYERS.length + 1)
    assert.equal(new Set(asked).size, asked.length)
    assert.equal(JSON.parse(await gantry('--root', root, 'images', '--json')).length, 1)
  })

  // From the seed: where in the process's life it is killed.
  const points = Array.from({ length: 6 }, (_, i) => 150 + (noise(`kill ${i}`, 2).readUInt16LE() % 900))

  it('is killed while it pulls, at seeded points, and goes on until the image is there and whole', async () => {
    const root = join(folder, 'killed')
    await using link = await between(app.url)
    for (const afterMs of points) {
      const child = started('--root', root, 'pull', '--quiet', `${link.host}/team/app:v1`)
      const ended = closed(child)
      await delay(afterMs)
      killGroup(child, 'SIGKILL')
      await ended
    }
    await gantry('--root', root, 'pull', '--quiet', `${link.host}/team/app:v1`)
    const [image] = JSON.parse(await gantry('--root', root, 'images', '--json')) as { digest: string }[]
    assert.match(image?.digest ?? '', /^sha256:/)
    await gantry('--root', root, 'save', '--quiet', '-o', join(folder, 'whole.tar'), `${link.host}/team/app:v1`) // each blob is hashed
  })

  it('is killed while it pushes, at seeded points, and goes on until the image is there and whole', async () => {
    const root = join(folder, 'pushes')
    const [from, to] = [new URL(app.url).host, 'pushed/app']
    await gantry('--root', root, 'pull', '--quiet', `${from}/team/app:v1`)
    await using link = await between(app.url)
    const target = `${link.host}/${to}:v1`
    for (const afterMs of points) {
      const child = started('--root', root, 'push', '--quiet', `${from}/team/app:v1`, target)
      const ended = closed(child)
      await delay(afterMs)
      killGroup(child, 'SIGKILL')
      await ended
    }
    await gantry('--root', root, 'push', '--quiet', `${from}/team/app:v1`, target)
    await gantry('copy', '--quiet', target, `oci:${join(folder, 'pushed')}:v1`) // each blob is hashed
    const sent = link.requests.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0)
    assert.ok(sent < total * points.length, `${sent} bytes were sent of ${total}`)
  })

  it('is killed at a request of each kind that a push makes, and the next push makes the image whole', async () => {
    const root = join(folder, 'requests')
    const from = new URL(app.url).host
    await gantry('--root', root, 'pull', '--quiet', `${from}/team/app:v1`)
    const push = (host: string, to: string) => [
      '--root',
      root,
      'push',
      '--quiet',
      `${from}/team/app:v1`,
      `${host}/${to}:v1`,
    ]
    const kind = ({ method = '', url = '' }: { method?: string | undefined; url?: string | undefined }): string =>
      `${method} ${/\/(uploads|blobs|manifests)\/(?!uploads)/.exec(url)?.[1]}`
    await using whole = await between(app.url)
    await gantry(...push(whole.host, 'killed/none'))
    const kinds = [...new Set(whole.requests.map(kind))]
    assert.deepEqual(kinds.toSorted(), ['HEAD blobs', 'HEAD manifests', 'POST uploads', 'PUT manifests', 'PUT uploads'])
    for (const [i, fatal] of kinds.entries()) {
      const to = `killed/at-${i}`
      let victim: ReturnType<typeof started> | undefined
      await using link = await between(app.url, (request) => {
        if (victim && kind(request) === fatal) killGroup(victim, 'SIGKILL')
        return 'pass'
      })
      victim = started(...push(link.host, to))
      assert.notEqual(await closed(victim), 0, fatal)
      await gantry(...push(from, to))
      await gantry('copy', '--quiet', `${from}/${to}:v1`, `oci:${join(folder, `at-${i}`)}:v1`) // each blob is hashed
    }
  })
})
