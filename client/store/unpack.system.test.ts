/** Pulls that are killed, that run beside each other, and that find the disk full: the next one goes on, and the image is whole. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, before, beforeEach, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Archive } from '../../native/testing/archive.ts'
import { digestOf } from '../../storage/model/digest.ts'
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

  /** What is there when the process is to die. */
  const phases: Readonly<Record<string, (names: readonly string[]) => boolean>> = {
    'while it downloads': (names) => names.some((name) => /blobs\/sha256\/\.tmp-/.test(name)),
    'as soon as it unpacks': (names) => names.some((name) => /^layers\/\.tmp-/.test(name)),
    'in the midst of unpacking': (names) =>
      names.filter((name) => /^layers\/\.tmp-.*\/d\//.test(name)).length > FILES / 3,
    'when the layer is published': (names) => names.some((name) => /^layers\/sha256-[0-9a-f]+$/.test(name)),
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
    const layer = registry.asked.filter(
      ({ url = '' }) => url.includes('/blobs/') && (pages.get(url.slice(13))?.bytes.length ?? 0) > 9999,
    )
    assert.equal(layer.length, 1)
  })

  for (const [what, kilobytes] of [
    ['download', 512],
    ['unpacking', 26_000],
  ] as const)
    it(`that finds the disk full in its ${what} says so, and succeeds when there is room`, async () => {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${kilobytes}k`, 'gantry-test', root])
      try {
        await using registry = await scriptedRegistry(serve(pages))
        const { code, said } = await ended(start(registry.host))
        assert.equal(code, 1)
        assert.match(
          said,
          what === 'download' ? /no room for sha256:/ : /write the file "d\/[0-9]+".*No space left on device/,
        )
        assert.ok(!(await readdir(join(root, 'content'))).includes('index.json'))
        execFileSync('mount', ['-o', 'remount,size=200m', root])
        assert.deepEqual(await ended(start(registry.host)), { code: 0, said: '' })
        await isWhole()
        assert.ok((await stat(root)).isDirectory())
      } finally {
        execFileSync('umount', [root])
      }
    })
})
