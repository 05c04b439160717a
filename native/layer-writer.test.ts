/** What a layer's names, links and whiteouts do on a real filesystem, below a really mounted overlay. */
import assert from 'node:assert/strict'
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { type EntryAttributes, LayerWriter } from './layer-writer.ts'
import { mountOverlay, unmount } from './overlay.ts'

const skip = process.getuid?.() === 0 ? false : 'needs root'
const b = (text: string): Buffer => Buffer.from(text)
const attributes = (changes: Partial<EntryAttributes> = {}): EntryAttributes => ({
  mode: 0o755,
  uid: 0,
  gid: 0,
  modifiedNanoseconds: 1_600_000_000_123_456_789n,
  ...changes,
})

async function* text(content: string): AsyncGenerator<Uint8Array> {
  yield b(content)
}

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'layer-writer-'))
  try {
    await run(folder)
  } finally {
    unmount(join(folder, 'merged'))
    await rm(folder, { recursive: true, force: true })
  }
}

async function layer(folder: string, fill: (writer: LayerWriter) => Promise<void>, lower: string[] = []) {
  await mkdir(folder, { recursive: true })
  const writer = await LayerWriter.open(folder)
  try {
    await fill(writer)
    const { needsLower } = await writer.finish()
    if (needsLower) await writer.completeAgainst(lower)
    return needsLower
  } finally {
    await writer.close()
  }
}

const put = (writer: LayerWriter, path: string, content = path, changes: Partial<EntryAttributes> = {}) =>
  writer.file(b(path), b(content).length, text(content), attributes({ mode: 0o644, ...changes }))

test('names that lead upwards, NULs and a root that is no directory are refused, naming the entry', { skip }, () =>
  inFolder(async (folder) => {
    await layer(join(folder, 'a'), async (writer) => {
      await assert.rejects(put(writer, 'x/../../evil'), /x\/\.\.\/\.\.\/evil/)
      await assert.rejects(writer.whiteout(b('a/..')), /upwards/)
      await assert.rejects(writer.whiteout(b('.')), /root/)
      await assert.rejects(put(writer, 'a\0b'), { code: 'EINVAL' })
      await assert.rejects(writer.symlink(b('/.'), b('/etc'), attributes()), /root/)
      await assert.rejects(put(writer, 'x'.repeat(256)), { code: 'ENAMETOOLONG' })
      await assert.rejects(writer.node(b('forged'), 'character-device', 0, 0, attributes()), /whiteout/)
      await put(writer, '/absolute')
    })
    assert.deepEqual(await readdir(join(folder, 'a')), ['absolute'])
  }),
)

test('writing through a symbolic link to the outside stays inside', { skip }, () =>
  inFolder(async (folder) => {
    await mkdir(join(folder, 'outside'))
    await writeFile(join(folder, 'outside', 'secret'), 'secret')
    await layer(join(folder, 'a'), async (writer) => {
      await writer.symlink(b('out'), b(join(folder, 'outside')), attributes())
      await writer.symlink(b('up'), b('../outside'), attributes())
      await assert.rejects(put(writer, 'out/evil'), /out\/evil/)
      await assert.rejects(put(writer, 'up/evil'), /up\/evil/)
      await writer.symlink(b('link'), b(join(folder, 'outside/secret')), attributes())
      await writer.hardlink(b('hard'), b('link'))
      await put(writer, 'link', 'own')
      await writer.directory(b('real'), attributes())
      await writer.symlink(b('inside'), b('/real'), attributes())
      await put(writer, 'inside/file')
    })
    assert.deepEqual(await readdir(join(folder, 'outside')), ['secret'])
    assert.equal(await readFile(join(folder, 'outside/secret'), 'utf8'), 'secret')
    assert.equal(await readlink(join(folder, 'a/hard')), join(folder, 'outside/secret'))
    assert.equal(await readFile(join(folder, 'a/real/file'), 'utf8'), 'inside/file')
  }),
)

test('the last of a directory, a link and a file of the same name stays', { skip }, () =>
  inFolder(async (folder) => {
    await layer(join(folder, 'a'), async (writer) => {
      await put(writer, 'x/deep/er/file')
      await writer.symlink(b('x'), b('/etc'), attributes())
      await put(writer, 'x', 'file')
      await put(writer, 'y', 'file')
      await put(writer, 'y/z', 'below')
    })
    assert.equal(await readFile(join(folder, 'a/x'), 'utf8'), 'file')
    assert.equal(await readFile(join(folder, 'a/y/z'), 'utf8'), 'below')
  }),
)

test('modes, owners, times, attributes, links and nodes are kept', { skip }, () =>
  inFolder(async (folder) => {
    const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex')
    await layer(join(folder, 'a'), async (writer) => {
      await writer.directory(b('d'), attributes({ mode: 0o1750, uid: 7 }))
      const xattrs = new Map([
        ['security.capability', capability],
        ['trusted.overlay.opaque', b('y')],
      ])
      await put(writer, 'd/f', 'x', { mode: 0o4711, uid: 5, gid: 6, xattrs })
      await writer.hardlink(b('d/g'), b('d/f'))
      await writer.node(b('d/p'), 'fifo', 0, 0, attributes())
      await writer.node(b('d/n'), 'character-device', 1, 3, attributes({ xattrs: new Map([['user.x', b('1')]]) }))
    })
    const f = await lstat(join(folder, 'a/d/f'), { bigint: true })
    assert.deepEqual([f.mode & 0o7777n, f.uid, f.gid, f.nlink], [0o4711n, 5n, 6n, 2n])
    assert.equal(f.mtimeNs, 1_600_000_000_123_456_789n)
    const d = await lstat(join(folder, 'a/d'), { bigint: true })
    assert.deepEqual([d.mode & 0o7777n, d.uid, d.mtimeNs], [0o1750n, 7n, 1_600_000_000_123_456_789n])
    assert.ok((await lstat(join(folder, 'a/d/p'))).isFIFO())
    assert.equal((await lstat(join(folder, 'a/d/n'))).rdev, 0x103)
  }),
)

test('whiteouts hide what is below and nothing of their own layer; implied parents and links complete', { skip }, () =>
  inFolder(async (folder) => {
    const [low, high] = [join(folder, 'low'), join(folder, 'high')]
    await layer(low, async (writer) => {
      await writer.directory(b('keep'), attributes({ mode: 0o700, uid: 9 }))
      for (const path of ['keep/old', 'keep/gone', 'opaque/old', 'both/old', 'file']) await put(writer, path)
    })
    const needsLower = await layer(
      high,
      async (writer) => {
        await put(writer, 'opaque/new')
        await writer.whiteout(b('opaque/old'))
        await writer.opaque(b('opaque'))
        await writer.whiteout(b('both'))
        await put(writer, 'both/new')
        await writer.whiteout(b('keep/gone'))
        await put(writer, 'file', 'own')
        await writer.whiteout(b('file'))
        await writer.hardlink(b('link'), b('keep/old'))
      },
      [low],
    )
    assert.equal(needsLower, true)
    assert.deepEqual(await readdir(join(high, 'opaque')), ['new'])
    for (const name of ['upper', 'work', 'merged']) await mkdir(join(folder, name))
    const merged = join(folder, 'merged')
    mountOverlay({ lower: [high, low], upper: join(folder, 'upper'), work: join(folder, 'work'), target: merged })
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

test('no descriptor stays open, whether a layer succeeds or fails', { skip }, () =>
  inFolder(async (folder) => {
    const attempt = async (name: string) => {
      await layer(join(folder, name), async (writer) => {
        await put(writer, 'a/b', 'x'.repeat(300_000))
        await assert.rejects(writer.file(b('short'), 400_000, text('x'), attributes()))
        await assert.rejects(put(writer, '..'))
      })
    }
    await attempt('first')
    const before = (await readdir('/proc/self/fd')).length
    for (let i = 0; i < 5; i++) await attempt(`again-${i}`)
    assert.equal((await readdir('/proc/self/fd')).length, before)
    assert.equal((await lstat(join(folder, 'first/a/b'))).size, 300_000)
  }),
)

test('a later entry wins over a hard link to a file below', { skip }, () =>
  inFolder(async (folder) => {
    const [low, high] = [join(folder, 'low'), join(folder, 'high')]
    await layer(low, (writer) => put(writer, 'below', 'below'))
    const fill = async (writer: LayerWriter) => {
      await writer.hardlink(b('name'), b('below'))
      await put(writer, 'name', 'later')
      await put(writer, 'early', 'early')
      await writer.hardlink(b('early'), b('below'))
    }
    await layer(high, fill, [low])
    assert.equal(await readFile(join(high, 'name'), 'utf8'), 'later')
    assert.equal(await readFile(join(high, 'early'), 'utf8'), 'below')
  }),
)

test('a hard link does not bring back what its own layer hides', { skip }, () =>
  inFolder(async (folder) => {
    const low = join(folder, 'low')
    await layer(low, (writer) => put(writer, 'd/f'))
    const opaque = layer(
      join(folder, 'one'),
      async (writer) => {
        await writer.opaque(b('d'))
        await writer.hardlink(b('link'), b('d/f'))
      },
      [low],
    )
    await assert.rejects(opaque, /hides/)
    const gone = layer(
      join(folder, 'two'),
      async (writer) => {
        await writer.whiteout(b('d'))
        await writer.hardlink(b('link'), b('d/f'))
      },
      [low],
    )
    await assert.rejects(gone, /hides|no layer/)
  }),
)

test('an opaque root hides everything below', { skip }, () =>
  inFolder(async (folder) => {
    const [low, high] = [join(folder, 'low'), join(folder, 'high')]
    await layer(low, async (writer) => {
      for (const path of ['gone', 'd/old', 'replaced']) await put(writer, path)
    })
    const fill = async (writer: LayerWriter) => {
      await writer.opaque(b(''))
      await put(writer, 'd/new')
      await put(writer, 'replaced', 'own')
    }
    assert.equal(await layer(high, fill, [low]), true)
    for (const name of ['upper', 'work', 'merged']) await mkdir(join(folder, name))
    const merged = join(folder, 'merged')
    mountOverlay({ lower: [high, low], upper: join(folder, 'upper'), work: join(folder, 'work'), target: merged })
    assert.deepEqual((await readdir(merged)).sort(), ['d', 'replaced'])
    assert.deepEqual(await readdir(join(merged, 'd')), ['new'])
    assert.equal(await readFile(join(merged, 'replaced'), 'utf8'), 'own')
  }),
)

test('a directory keeps its time although a link is completed in it', { skip }, () =>
  inFolder(async (folder) => {
    const [low, high] = [join(folder, 'low'), join(folder, 'high')]
    await layer(low, (writer) => put(writer, 'below'))
    const fill = async (writer: LayerWriter) => {
      await writer.directory(b('d'), attributes({ modifiedNanoseconds: 5_000_000_007n }))
      await writer.hardlink(b('d/link'), b('below'))
    }
    await layer(high, fill, [low])
    assert.equal((await lstat(join(high, 'd'), { bigint: true })).mtimeNs, 5_000_000_007n)
  }),
)

test('a whiteout beyond a file of the layer leaves the file alone', { skip }, () =>
  inFolder(async (folder) => {
    await layer(join(folder, 'a'), async (writer) => {
      await put(writer, 'file')
      await writer.whiteout(b('file/below'))
    })
    assert.equal(await readFile(join(folder, 'a/file'), 'utf8'), 'file')
  }),
)

test('a tree far deeper than a process has descriptors is replaced', { skip }, () =>
  inFolder(async (folder) => {
    await layer(join(folder, 'a'), async (writer) => {
      await writer.directory(b('top'), attributes())
      let link = 'top'
      // Each link leads deeper than a path could say.
      for (let n = 0; n < 8; n += 1) {
        const deep = `${link}/${'d/'.repeat(400)}e`
        await writer.directory(b(deep), attributes())
        const target = n === 0 ? deep : `${'d/'.repeat(400)}e`
        const place = n === 0 ? `link${n}` : `${link}/link${n}`
        await writer.symlink(b(place), b(n === 0 ? `/${target}` : target), attributes())
        link = place
      }
      await writer.symlink(b('top'), b('elsewhere'), attributes())
    })
    assert.equal(await readlink(join(folder, 'a/top')), 'elsewhere')
  }),
)

test('a later file below the name of a link to a file below wins', { skip }, () =>
  inFolder(async (folder) => {
    const [low, high] = [join(folder, 'low'), join(folder, 'high')]
    await layer(low, (writer) => put(writer, 'below'))
    await layer(
      high,
      async (writer) => {
        await writer.hardlink(b('name'), b('below'))
        await put(writer, 'name/child')
      },
      [low],
    )
    assert.equal(await readFile(join(high, 'name/child'), 'utf8'), 'name/child')
  }),
)

test('a later file wins over a link that was named through a symbolic link', { skip }, () =>
  inFolder(async (folder) => {
    const [low, high] = [join(folder, 'low'), join(folder, 'high')]
    await layer(low, (writer) => put(writer, 'below'))
    await layer(
      high,
      async (writer) => {
        await writer.directory(b('real'), attributes())
        await writer.symlink(b('alias'), b('real'), attributes())
        await writer.hardlink(b('alias/name'), b('below'))
        await put(writer, 'real/name', 'later')
      },
      [low],
    )
    assert.equal(await readFile(join(high, 'real/name'), 'utf8'), 'later')
  }),
)

test('a symbolic link of the layer is no way around its opaque directory', { skip }, () =>
  inFolder(async (folder) => {
    const low = join(folder, 'low')
    await layer(low, async (writer) => {
      await put(writer, 'd/f')
      await put(writer, 'alias/f', 'old')
    })
    await assert.rejects(
      layer(
        join(folder, 'high'),
        async (writer) => {
          await writer.opaque(b('d'))
          await writer.symlink(b('alias'), b('d'), attributes())
          await writer.hardlink(b('link'), b('alias/f'))
        },
        [low],
      ),
    )
  }),
)

test('a link into a directory that a file of the layer replaces is refused, and the file stays', { skip }, () =>
  inFolder(async (folder) => {
    const low = join(folder, 'low')
    await layer(low, (writer) => put(writer, 'd/f'))
    await assert.rejects(
      layer(
        join(folder, 'high'),
        async (writer) => {
          await put(writer, 'd', 'own file')
          await writer.hardlink(b('link'), b('d/f'))
        },
        [low],
      ),
    )
    assert.equal(await readFile(join(folder, 'high/d'), 'utf8'), 'own file')
  }),
)

test('a directory that takes the place of a file shows nothing of the layers below', { skip }, () =>
  inFolder(async (folder) => {
    const [low, high] = [join(folder, 'low'), join(folder, 'high')]
    await layer(low, (writer) => put(writer, 'd/old'))
    await layer(
      high,
      async (writer) => {
        await writer.opaque(b('d'))
        await put(writer, 'd', 'file')
        await writer.directory(b('d'), attributes())
      },
      [low],
    )
    for (const name of ['upper', 'work', 'merged']) await mkdir(join(folder, name))
    mountOverlay({
      lower: [high, low],
      upper: join(folder, 'upper'),
      work: join(folder, 'work'),
      target: join(folder, 'merged'),
    })
    assert.deepEqual(await readdir(join(folder, 'merged/d')), [])
  }),
)

test('attributes of a directory do not go through the symbolic link that took its place', { skip }, () =>
  inFolder(async (folder) => {
    await layer(join(folder, 'a'), async (writer) => {
      await writer.directory(b('real'), attributes({ mode: 0o700 }))
      await writer.directory(b('zz'), attributes({ mode: 0o777 }))
      await writer.symlink(b('zz'), b('real'), attributes())
      await writer.directory(b('a'), attributes({ mode: 0o777 }))
      await writer.symlink(b('a'), b('real'), attributes())
    })
    assert.equal((await lstat(join(folder, 'a/real'))).mode & 0o7777, 0o700)
  }),
)

test('control characters, long names and NULs in an error are shown, escaped and cut', { skip }, () =>
  inFolder(async (folder) => {
    await layer(join(folder, 'a'), async (writer) => {
      const step = async (p: Promise<unknown>) =>
        p.then(
          () => assert.fail('did not fail'),
          (e) => `${String(e.step ?? e.message)}|${e.message}`,
        )
      for (const s of [
        await step(put(writer, `\x1b[31m\n${'x'.repeat(3000)}/..`)),
        await step(put(writer, 'a\0tail')),
        await step(put(writer, 'x', 'x', { xattrs: new Map([['trusted.bad\x1b[31m', Buffer.alloc(65536)]]) })),
      ]) {
        assert.doesNotMatch(s, /\p{Cc}/u)
        assert.ok(s.length < 2000)
      }
      assert.match(await step(put(writer, 'a\0tail')), /tail/)
    })
  }),
)

test('a whiteout leaves a link to a file below alone', { skip }, () =>
  inFolder(async (folder) => {
    const [low, high] = [join(folder, 'low'), join(folder, 'high')]
    await layer(low, async (writer) => {
      await put(writer, 'below')
      await put(writer, 'name', 'old')
    })
    await layer(
      high,
      async (writer) => {
        await writer.hardlink(b('name'), b('below'))
        await writer.whiteout(b('name'))
      },
      [low],
    )
    assert.equal(await readFile(join(high, 'name'), 'utf8'), 'below')
  }),
)

test('an implied directory in an opaque one takes no attributes from below', { skip }, () =>
  inFolder(async (folder) => {
    const [low, high] = [join(folder, 'low'), join(folder, 'high')]
    await layer(low, async (writer) => {
      await writer.directory(b('d/e'), attributes({ uid: 99, mode: 0o777 }))
    })
    await layer(
      high,
      async (writer) => {
        await writer.opaque(b('d'))
        await put(writer, 'd/e/f')
      },
      [low],
    )
    assert.equal((await lstat(join(high, 'd/e'))).uid, 0)
  }),
)

test('a file that took the place of an opaque directory stays', { skip }, () =>
  inFolder(async (folder) => {
    await layer(join(folder, 'a'), async (writer) => {
      await writer.whiteout(b('d/x'))
      await writer.opaque(b('d'))
      await put(writer, 'd', 'file')
    })
    assert.equal(await readFile(join(folder, 'a/d'), 'utf8'), 'file')
  }),
)

test('a link to a waiting link leads to the file below, whatever comes later', { skip }, () =>
  inFolder(async (folder) => {
    const [low, high] = [join(folder, 'low'), join(folder, 'high')]
    await layer(low, (writer) => put(writer, 'below', 'below'))
    await layer(
      high,
      async (writer) => {
        await writer.hardlink(b('z'), b('below'))
        await writer.hardlink(b('a'), b('z'))
        await put(writer, 'z', 'later')
      },
      [low],
    )
    assert.equal(await readFile(join(high, 'a'), 'utf8'), 'below')
  }),
)
