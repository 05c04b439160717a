/** Pulls that are killed, and that run beside each other: the next one goes on, and the image is whole. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, before, beforeEach, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Archive } from '../../native/testing/archive.ts'
import { digestOf, hexOf } from '../../storage/model/digest.ts'
import { imagePages, type Pages, serve } from '../testing/image-pages.ts'
import { scriptedRegistry } from '../testing/scripted-registry.ts'

const PULL = fileURLToPath(new URL('../testing/pull-process.ts', import.meta.url))
const skip = process.getuid?.() === 0 ? false : 'needs root'
const content = randomBytes(40_000)
const FILES = 600

describe('a pull in a process of its own', { skip }, () => {
  let root: string
  let pages: Pages
  let tar: Buffer
  before(() => {
    const archive = new Archive().directory('d')
    for (let i = 0; i < FILES; i++) archive.file(`d/${i}`, content)
    tar = archive.bytes()
    pages = imagePages([tar], { Cmd: ['/x'] })
  })
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'gantry-killed-'))
  })
  afterEach(async () => await rm(root, { recursive: true, force: true }))

  /** The layer. */
  const largest = (): readonly [digest: string, bytes: Buffer] => {
    const [path, page] = [...pages].toSorted(([, one], [, other]) => other.bytes.length - one.bytes.length)[0] ?? []
    return [path?.slice('blobs/'.length) ?? '', page?.bytes ?? Buffer.alloc(0)]
  }
  const start = (host: string, folder = root): ChildProcess =>
    spawn(process.execPath, [PULL, `${host}/team/app`, folder], { stdio: ['ignore', 'ignore', 'pipe'] })
  async function ended(child: ChildProcess): Promise<{ readonly code: number | null; readonly said: string }> {
    let said = ''
    child.stderr?.on('data', (text: Buffer) => {
      said += text
    })
    const [code] = (await once(child, 'close')) as [number | null]
    return { code, said }
  }
  async function isWhole(folder = root): Promise<void> {
    const layer = join(folder, 'layers', digestOf(tar).replace(':', '-'), 'd')
    assert.equal((await readdir(layer)).length, FILES)
    for (const name of ['0', `${FILES - 1}`]) assert.ok((await readFile(join(layer, name))).equals(content))
    const left = (await readdir(folder, { recursive: true })).filter((name) => name.includes('.tmp-'))
    assert.deepEqual(left, [])
  }

  const partOf = (blob: string) => join(root, 'content/blobs/sha256', `.partial-${blob.slice('sha256:'.length)}`)
  const sizeOf = async (path: string): Promise<number> => (await stat(path).catch(() => undefined))?.size ?? 0
  /** Of what its server says at once, a process has the last piece in its hands until the next one comes. */
  const IN_HAND_BYTES = 256 * 1024

  for (let seed = 1; seed <= 4; seed++)
    it(`killed while it unpacks what still comes (seed ${seed}) goes on with what has arrived`, async () => {
      const [blob = '', bytes = Buffer.alloc(0)] = largest()
      const place = Number.parseInt(hexOf(digestOf(Buffer.from(`cut ${seed}`))).slice(0, 4), 16) / 2 ** 16
      const cut = Math.floor(2 ** 20 + place * (bytes.length - 2 ** 21))
      await using stalling = await scriptedRegistry((request, response) => {
        if (!request.url?.endsWith(blob)) return serve(pages)(request, response)
        return response.writeHead(200, { 'content-length': bytes.length }).write(bytes.subarray(0, cut))
      })
      const child = start(stalling.host)
      const result = ended(child)
      const isUnpacking = async () => (await readdir(join(root, 'layers'), { recursive: true })).length > 5
      while (child.exitCode === null && ((await sizeOf(partOf(blob))) < cut - IN_HAND_BYTES || !(await isUnpacking())))
        await delay(5)
      child.kill('SIGKILL')
      await result
      const arrived = await sizeOf(partOf(blob))
      await using registry = await scriptedRegistry(serve(pages))
      assert.deepEqual(await ended(start(registry.host)), { code: 0, said: '' })
      await isWhole()
      const ranges = registry.asked.filter(({ url }) => url?.endsWith(blob)).map(({ headers }) => headers.range)
      assert.deepEqual(ranges, [`bytes=${arrived}-`])
    })

  /** What is there when the process is to die. */
  const phases: Readonly<Record<string, (names: readonly string[]) => boolean>> = {
    'when its manifest is there': (names) => names.some((name) => /^content\/blobs\/sha256\/[0-9a-f]/.test(name)),
    'as soon as a layer begins': (names) => names.some((name) => /^layers\/\.tmp-/.test(name)),
    'in the midst of unpacking': (names) =>
      names.filter((name) => /^layers\/\.tmp-.*\/d\//.test(name)).length > FILES / 3,
    'when the layer is published': (names) => names.some((name) => /^layers\/sha256-[0-9a-f]+$/.test(name)),
    'when its name is written': (names) => names.some((name) => /^content\/(index\.json|oci-layout)/.test(name)),
  }
  for (const [phase, reached] of Object.entries(phases))
    it(`killed ${phase} is made good by the next`, async () => {
      await using registry = await scriptedRegistry(serve(pages))
      const child = start(registry.host)
      const result = ended(child)
      while (child.exitCode === null && !reached(await readdir(root, { recursive: true }).catch(() => [])));
      child.kill('SIGKILL')
      await result
      assert.deepEqual(await ended(start(registry.host)), { code: 0, said: '' })
      await isWhole()
    })

  it('beside another of the same image downloads and unpacks it once', async () => {
    await using registry = await scriptedRegistry(serve(pages))
    const results = await Promise.all([ended(start(registry.host)), ended(start(registry.host))])
    assert.deepEqual(results, [
      { code: 0, said: '' },
      { code: 0, said: '' },
    ])
    await isWhole()
    assert.equal(registry.asked.filter(({ url }) => url?.endsWith(largest()[0])).length, 1)
  })
})
