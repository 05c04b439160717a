// Overlays of as many layers as images have, on whichever kernel.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readFile, rmdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { mountOverlay, unmount } from './overlay.ts'
import { Bench, buildPayload, dockerConfig } from './testing/bundle.ts'
import { commandLine } from './testing/command-line.ts'

/** docker stops at 127. */
const LAYERS = 128
const skip = process.getuid?.() === 0 ? false : 'mounts need root'

describe('an overlay of 128 layers with long names', { skip }, () => {
  let bench: Bench
  let store: string
  const { cli, nextId, end } = commandLine(() => bench)

  before(async () => {
    bench = await Bench.open()
    // Overlays upon overlays are not for writing: where this is in a container, its disk is one.
    store = await mkdtemp(join(tmpdir(), 'gantry-overlay-'))
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', store])
  })
  afterEach(end)
  after(async () => {
    execFileSync('umount', [store])
    await rmdir(store)
    await bench.close()
  })

  it('is the root of a container: each layer shows, the uppermost first, and hides what it removed', async () => {
    const folder = join(store, 'x'.repeat(200))
    const layers: string[] = []
    for (let i = 0; i < LAYERS; ++i) {
      const layer = join(folder, `${'y'.repeat(200)}-${i}`)
      layers.push(layer)
      await mkdir(join(layer, 'etc'), { recursive: true })
      await writeFile(join(layer, `etc/layer-${i}`), `${i}\n`)
      await writeFile(join(layer, 'etc/last'), `${i}\n`)
      if (i % 2 === 1) execFileSync('mknod', [join(layer, `etc/layer-${i - 1}`), 'c', '0', '0']) // a whiteout
    }
    await copyFile(await buildPayload(), join(layers[0] ?? '', 'init'))

    const config = dockerConfig('cat', '/etc/last', '--', 'ls', '/etc', '--', 'write', '/etc/new', 'written')
    const bundle = await bench.bundle(config)
    const [upper, work, target] = [join(folder, 'upper'), join(folder, 'work'), join(bundle, 'rootfs')]
    for (const each of [upper, work]) await mkdir(each)
    mountOverlay({ lower: layers.toReversed(), upper, work, target })
    try {
      const { stdout, stderr } = await cli('run', '-b', bundle, nextId())
      assert.equal(stderr, '')
      const [last, ...names] = stdout.trim().split('\n')
      assert.equal(last, String(LAYERS - 1))
      const odd = Array.from({ length: LAYERS / 2 }, (_, i) => `layer-${2 * i + 1}`)
      assert.deepEqual(names.toSorted(), [...odd, 'last', 'wrote /etc/new'].toSorted())
      assert.equal(await readFile(join(upper, 'etc/new'), 'utf8'), 'written')
    } finally {
      assert.equal(await unmount(target), true)
    }
  })
})
