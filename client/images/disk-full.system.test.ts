/**
 * A pull into a filesystem that has too little room, for every size and every number of files that is too little: it says so, leaves nothing half-made, and
 * the next one, which has room, brings the image whole. So every phase meets the full disk: download, unpacking, completion, publication, the list of images.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { Archive } from '../../native/testing/archive.ts'
import { parseImageName } from '../model/image-name.ts'
import { RegistryRepository } from '../registry/registry.ts'
import { Transport } from '../registry/transport.ts'
import { DiskFull } from '../store/disk-full.ts'
import { StoreFolders } from '../store/store.ts'
import { imagePages, serve } from '../testing/image-pages.ts'
import { scriptedRegistry } from '../testing/scripted-registry.ts'
import { Images } from './images.ts'
import { pullImage } from './pull.ts'

const skip = process.getuid?.() === 0 ? false : 'needs root'
const PAGE_BYTES = 4096
const ROOMY = 'size=64m,nr_inodes=10000'

const content = randomBytes(3 * PAGE_BYTES)
const lower = new Archive().directory('d').file('d/below', content).bytes()
/** Needs the one below: `d` is only implied, and the link's target is copied up. */
const upper = new Archive().file('d/own', content).hardlink('linked', 'd/below').bytes()
const pages = imagePages([lower, upper], { Cmd: ['/x'] })

describe('a pull to a disk that is full', { skip }, () => {
  async function pull(root: string, host: string): Promise<void> {
    await using transport = new Transport(host, { backOffMs: 1 })
    const name = parseImageName(`${host}/team/app`)
    const store = await StoreFolders.open(root)
    const images = new Images(store)
    const source = new RegistryRepository(transport, name.repository)
    const image = await pullImage({ store, images, source, options: {} }, name)
    const [below = '', above = ''] = (await images.layers.find(image.config.diffIds)) ?? []
    for (const path of [join(below, 'd/below'), join(above, 'd/own'), join(above, 'linked')])
      assert.ok((await readFile(path)).equals(content), path)
    assert.deepEqual(await halfMade(root), [])
  }
  const halfMade = async (root: string): Promise<readonly string[]> =>
    (await readdir(root, { recursive: true })).filter((name) => /\.(tmp|partial)-/.test(name))

  /** What was said with each room that is too little, from `from` on, until there is enough. */
  async function complaints(from: number, room: (amount: number) => string): Promise<ReadonlySet<string>> {
    await using registry = await scriptedRegistry(serve(pages))
    const said = new Set<string>()
    for (let amount = from; ; amount++) {
      const root = await mkdtemp(join(tmpdir(), 'gantry-full-'))
      execFileSync('mount', ['-t', 'tmpfs', '-o', room(amount), 'gantry-test', root])
      try {
        const failure = await pull(root, registry.host).catch((error: unknown) => error)
        if (failure === undefined) return said
        if (!(failure instanceof DiskFull)) throw failure
        const chain = [failure, failure.cause, (failure.cause as Error).cause] as (Error | undefined)[]
        said.add(
          chain
            .map((each) => each?.message ?? '')
            .join(' ← ')
            .replace(root, 'ROOT'),
        )
        assert.deepEqual(await halfMade(root), [], failure.message)
        assert.ok(!(await readdir(join(root, 'content'))).includes('index.json'))
        execFileSync('mount', ['-o', `remount,${ROOMY}`, root])
        await pull(root, registry.host)
      } finally {
        execFileSync('umount', [root])
        await rm(root, { recursive: true })
      }
    }
  }
  const DOWNLOADING = /^no room for sha256:[^ ]+ in ROOT/
  const UNPACKING = /^no room for layer sha256:.*write the file "d\/below": No space/
  const COMPLETING = /^no room for layer sha256:.*copy "d\/below" up: No space/
  const LISTING = /^no room for the list of images in ROOT/

  async function meets(phases: readonly RegExp[], from: number, room: (amount: number) => string): Promise<void> {
    const said = [...(await complaints(from, room))]
    for (const phase of phases)
      assert.ok(
        said.some((each) => phase.test(each)),
        `${phase} in\n${said.join('\n')}`,
      )
  }

  it('says so whatever does not fit, and brings the image once there is room', () =>
    meets([DOWNLOADING, UNPACKING, COMPLETING, LISTING], 9, (pages) => `size=${pages * PAGE_BYTES},nr_inodes=10000`))
  it('does so, too, where it is files that it may have no more of', () =>
    meets([DOWNLOADING, UNPACKING, LISTING], 10, (files) => `size=64m,nr_inodes=${files}`))
})
