/** What a layer does to the layers below it, as a really mounted overlay shows it. */
import assert from 'node:assert/strict'
import { lstat, mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { mountOverlay } from './overlay.ts'
import type { Archive } from './testing/archive.ts'
import { inFolder, layer, skip } from './testing/unpack.ts'

/** Where an overlay of these layers, the uppermost first, is mounted in the folder. */
async function mounted(folder: string, lower: readonly string[]): Promise<string> {
  const [upper, work, target] = [join(folder, 'upper'), join(folder, 'work'), join(folder, 'merged')]
  for (const path of [upper, work, target]) await mkdir(path)
  mountOverlay({ lower, upper, work, target })
  return target
}

type Fill = Parameters<typeof layer>[1]

/** One layer upon another, in a folder of their own. */
const stacked = (
  fillLow: Fill,
  fillHigh: Fill,
  look: (layers: { folder: string; low: string; high: string }) => Promise<void>,
): Promise<void> =>
  inFolder(async (folder) => {
    const [low, high] = [join(folder, 'low'), join(folder, 'high')]
    await layer(low, fillLow)
    await layer(high, fillHigh, [low])
    await look({ folder, low, high })
  })

test('whiteouts hide what is below and nothing of their own layer; implied parents and links complete', { skip }, () =>
  inFolder(async (folder) => {
    const [low, high] = [join(folder, 'low'), join(folder, 'high')]
    await layer(low, (writer) => {
      writer.directory('keep', { mode: 0o700, uid: 9 })
      for (const path of ['keep/old', 'keep/gone', 'opaque/old', 'both/old', 'file']) writer.file(path)
    })
    const needsLower = await layer(
      high,
      (writer) => {
        writer.file('opaque/new')
        writer.whiteout('opaque/old')
        writer.opaque('opaque')
        writer.whiteout('both')
        writer.file('both/new')
        writer.whiteout('keep/gone')
        writer.file('file', 'own')
        writer.whiteout('file')
        writer.hardlink('link', 'keep/old')
      },
      [low],
    )
    assert.equal(needsLower, true)
    assert.deepEqual(await readdir(join(high, 'opaque')), ['new'])
    const merged = await mounted(folder, [high, low])
    assert.deepEqual((await readdir(merged)).sort(), ['both', 'file', 'keep', 'link', 'opaque'])
    assert.deepEqual(await readdir(join(merged, 'keep')), ['old'])
    assert.deepEqual(await readdir(join(merged, 'opaque')), ['new'])
    assert.deepEqual(await readdir(join(merged, 'both')), ['new'])
    assert.equal(await readFile(join(merged, 'file'), 'utf8'), 'own')
    const keep = await lstat(join(merged, 'keep'))
    assert.deepEqual([keep.mode & 0o7777, keep.uid], [0o700, 9])
    assert.equal((await lstat(join(high, 'link'))).ino, (await lstat(join(high, 'keep/old'))).ino)
  }),
)

test('a later entry wins over a hard link to a file below', { skip }, () =>
  stacked(
    (writer) => writer.file('below', 'below'),
    (writer) => {
      writer.hardlink('name', 'below')
      writer.file('name', 'later')
      writer.file('early', 'early')
      writer.hardlink('early', 'below')
    },
    async ({ high }) => {
      assert.equal(await readFile(join(high, 'name'), 'utf8'), 'later')
      assert.equal(await readFile(join(high, 'early'), 'utf8'), 'below')
    },
  ),
)

test('a hard link does not bring back what its own layer hides', { skip }, () =>
  inFolder(async (folder) => {
    const low = join(folder, 'low')
    await layer(low, (writer) => writer.file('d/f'))
    const opaque = layer(
      join(folder, 'one'),
      (writer) => {
        writer.opaque('d')
        writer.hardlink('link', 'd/f')
      },
      [low],
    )
    await assert.rejects(opaque, /hides/)
    const gone = layer(
      join(folder, 'two'),
      (writer) => {
        writer.whiteout('d')
        writer.hardlink('link', 'd/f')
      },
      [low],
    )
    await assert.rejects(gone, /hides|no layer/)
  }),
)

test('an opaque root hides everything below', { skip }, () =>
  inFolder(async (folder) => {
    const [low, high] = [join(folder, 'low'), join(folder, 'high')]
    await layer(low, (writer) => {
      for (const path of ['gone', 'd/old', 'replaced']) writer.file(path)
    })
    const fill = async (writer: Archive) => {
      writer.opaque('')
      writer.file('d/new')
      writer.file('replaced', 'own')
    }
    assert.equal(await layer(high, fill, [low]), true)
    const merged = await mounted(folder, [high, low])
    assert.deepEqual((await readdir(merged)).sort(), ['d', 'replaced'])
    assert.deepEqual(await readdir(join(merged, 'd')), ['new'])
    assert.equal(await readFile(join(merged, 'replaced'), 'utf8'), 'own')
  }),
)

test('a directory keeps its time although a link is completed in it', { skip }, () =>
  stacked(
    (writer) => writer.file('below'),
    (writer) => {
      writer.directory('d', { mtime: '5.000000007' })
      writer.hardlink('d/link', 'below')
    },
    async ({ high }) => {
      assert.equal((await lstat(join(high, 'd'), { bigint: true })).mtimeNs, 5_000_000_007n)
    },
  ),
)

test('a whiteout beyond a file of the layer leaves the file alone', { skip }, () =>
  inFolder(async (folder) => {
    await layer(join(folder, 'a'), (writer) => {
      writer.file('file')
      writer.whiteout('file/below')
    })
    assert.equal(await readFile(join(folder, 'a/file'), 'utf8'), 'file')
  }),
)

test('a later file below the name of a link to a file below wins', { skip }, () =>
  stacked(
    (writer) => writer.file('below'),
    (writer) => {
      writer.hardlink('name', 'below')
      writer.file('name/child')
    },
    async ({ high }) => {
      assert.equal(await readFile(join(high, 'name/child'), 'utf8'), 'name/child')
    },
  ),
)

test('a later file wins over a link that was named through a symbolic link', { skip }, () =>
  stacked(
    (writer) => writer.file('below'),
    (writer) => {
      writer.directory('real')
      writer.symlink('alias', 'real')
      writer.hardlink('alias/name', 'below')
      writer.file('real/name', 'later')
    },
    async ({ high }) => {
      assert.equal(await readFile(join(high, 'real/name'), 'utf8'), 'later')
    },
  ),
)

test('a symbolic link of the layer is no way around its opaque directory', { skip }, () =>
  inFolder(async (folder) => {
    const low = join(folder, 'low')
    await layer(low, (writer) => {
      writer.file('d/f')
      writer.file('alias/f', 'old')
    })
    await assert.rejects(
      layer(
        join(folder, 'high'),
        (writer) => {
          writer.opaque('d')
          writer.symlink('alias', 'd')
          writer.hardlink('link', 'alias/f')
        },
        [low],
      ),
    )
  }),
)

test('a link into a directory that a file of the layer replaces is refused, and the file stays', { skip }, () =>
  inFolder(async (folder) => {
    const low = join(folder, 'low')
    await layer(low, (writer) => writer.file('d/f'))
    await assert.rejects(
      layer(
        join(folder, 'high'),
        (writer) => {
          writer.file('d', 'own file')
          writer.hardlink('link', 'd/f')
        },
        [low],
      ),
    )
    assert.ok((await lstat(join(folder, 'high/d'))).isFile())
  }),
)

test('a directory that takes the place of a file shows nothing of the layers below', { skip }, () =>
  stacked(
    (writer) => writer.file('d/old'),
    (writer) => {
      writer.opaque('d')
      writer.file('d', 'file')
      writer.directory('d')
    },
    async ({ folder, low, high }) => {
      assert.deepEqual(await readdir(join(await mounted(folder, [high, low]), 'd')), [])
    },
  ),
)

test('a whiteout leaves a link to a file below alone', { skip }, () =>
  stacked(
    (writer) => {
      writer.file('below')
      writer.file('name', 'old')
    },
    (writer) => {
      writer.hardlink('name', 'below')
      writer.whiteout('name')
    },
    async ({ high }) => {
      assert.equal(await readFile(join(high, 'name'), 'utf8'), 'below')
    },
  ),
)

test('an implied directory in an opaque one takes no attributes from below', { skip }, () =>
  stacked(
    (writer) => {
      writer.directory('d/e', { uid: 99, mode: 0o777 })
    },
    (writer) => {
      writer.opaque('d')
      writer.file('d/e/f')
    },
    async ({ high }) => {
      assert.equal((await lstat(join(high, 'd/e'))).uid, 0)
    },
  ),
)

test('a file that took the place of an opaque directory stays', { skip }, () =>
  inFolder(async (folder) => {
    await layer(join(folder, 'a'), (writer) => {
      writer.whiteout('d/x')
      writer.opaque('d')
      writer.file('d', 'file')
    })
    assert.equal(await readFile(join(folder, 'a/d'), 'utf8'), 'file')
  }),
)

test('a link to a waiting link leads to the file below, whatever comes later', { skip }, () =>
  stacked(
    (writer) => writer.file('below', 'below'),
    (writer) => {
      writer.hardlink('z', 'below')
      writer.hardlink('a', 'z')
      writer.file('z', 'later')
    },
    async ({ high }) => {
      assert.equal(await readFile(join(high, 'a'), 'utf8'), 'below')
    },
  ),
)
