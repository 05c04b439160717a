/**
 * One image, unpacked by us, by umoci and by docker: every file's kind, mode, owner, size, time to the nanosecond, links, attributes, device
 * and content are the same.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { lstat, mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'
import { hostPlatform } from '../client/model/platform.ts'
import { chainIds, Layers } from '../client/store/layers.ts'
import { StoreFolders } from '../client/store/store.ts'
import { mountOverlay, unmount } from '../native/overlay.ts'
import { Archive } from '../native/testing/archive.ts'
import { type Digest, digestOf } from '../storage/model/digest.ts'
import { succeed } from './support/commands.ts'
import { startDockerd } from './support/dockerd.ts'
import { missing } from './support/needs.ts'
import { Workspace } from './support/workspace.ts'

const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex')
const acl = Buffer.from(
  '0200000001000700ffffffff020004000700000004000500ffffffff10000500ffffffff20000000ffffffff',
  'hex',
)
const long = `${'a'.repeat(120)}/${'b'.repeat(150)}`

/** Whatever a layer can say, and what later layers can do to it. */
const LAYERS: readonly Buffer[] = [
  new Archive()
    .directory('./', { mode: 0o755 })
    .directory('etc', { mode: 0o751, uid: 3, gid: 4, mtime: '1500000000.000000001' })
    .file('etc/passwd', 'root:x:0:0::/:/bin/sh\n', { mtime: '1500000001.999999999' })
    .directory('tmp', { mode: 0o1777 })
    // A directory that no layer names has the time at which it was made.
    .directory('bin')
    .directory('dev')
    .directory(long.slice(0, 120))
    .directory('tree')
    .directory('hidden')
    .file('bin/su', 'set-user-id', { mode: 0o4755 })
    .file('bin/wall', 'set-group-id', { mode: 0o2755, gid: 5 })
    .file('bin/ping', 'capable', { mode: 0o755, xattrs: { 'security.capability': capability } })
    .file('acl', 'x', { mode: 0o750, xattrs: { 'system.posix_acl_access': acl, 'user.note': 'kept' } })
    .hardlink('bin/su2', 'bin/su', { mode: 0o4755 }) // docker gives the file what the link says
    .symlink('link', 'etc/passwd', { uid: 9, gid: 9, mtime: '1400000000.123456789' })
    .symlink('dangling', '/nowhere')
    .node('fifo', 'fifo', 0, 0, { mode: 0o640 })
    .node('dev/null', 'character', 1, 3, { mode: 0o666 })
    .node('dev/loop0', 'block', 7, 0, { mode: 0o660, gid: 6 })
    .file(long, 'a long way')
    .file('large', Buffer.alloc(3_000_000, 'large '))
    .file('empty', '')
    .file('big-owner', 'x', { uid: 3_000_000, gid: 70_000 })
    .file('gone', 'x')
    .file('tree/gone', 'x')
    .file('tree/kept', 'x')
    .file('hidden/old', 'x')
    .directory('becomes-file')
    .file('becomes-file/x', 'x')
    .file('becomes-directory', 'x')
    .bytes(),
  new Archive()
    .whiteout('gone')
    .directory('tree', { mode: 0o700 })
    .whiteout('tree/gone')
    .directory('hidden')
    .file('hidden/new', 'new')
    .opaque('hidden')
    .file('becomes-file', 'file')
    .directory('becomes-directory')
    .file('becomes-directory/x', 'x')
    .directory('etc', { mode: 0o755, uid: 0, gid: 0 })
    .file('etc/passwd', 'changed\n')
    .bytes(),
]

/**
 * What docker does otherwise: it applies each layer alone, and so refuses a link across them, and gives directories that are only implied
 * its own attributes, though those below have others; it refuses a name that comes twice; it takes times before 1970 for 1970.
 */
const NOT_FOR_DOCKER: readonly Buffer[] = [
  ...LAYERS,
  new Archive()
    .hardlink('across', 'large')
    .file('tmp/made', 'x')
    .file('same', '1')
    .file('same', '2')
    .file('before-1970', 'old', { mtime: '-1.5' })
    .bytes(),
]

describe('an image that says all there is to say', { skip: await missing('umoci', 'dockerd', 'getfattr') }, () => {
  let workspace: Workspace

  before(async () => {
    workspace = await Workspace.open()
  })
  after(async () => await workspace[Symbol.asyncDispose]())

  it('is the same when umoci unpacks it', async () => {
    const layout = await writeLayout(workspace.path('layout'), NOT_FOR_DOCKER)
    const bundle = workspace.path('bundle')
    await succeed('umoci', ['unpack', '--image', `${layout}:latest`, bundle])
    assert.deepEqual(await listing(join(bundle, 'rootfs')), await ours(workspace, 'linked', NOT_FOR_DOCKER))
  })

  it('is the same when docker unpacks it', async () => {
    await using dockerd = await startDockerd(workspace)
    const archive = workspace.path('image.tar')
    await writeFile(archive, dockerArchive())
    await dockerd.docker(['load', '--input', archive])
    const id = (await dockerd.docker(['create', 'all:latest', 'x'])).trim()
    const [found] = JSON.parse(await dockerd.docker(['inspect', id]))
    const { LowerDir } = found.GraphDriver.Data as { LowerDir: string }
    // The first is the container's own layer, with what docker puts into each.
    const lower = LowerDir.split(':').slice(1)
    const merged = await overlay(workspace, 'docker', lower)
    try {
      assert.deepEqual(await listing(merged), await ours(workspace, 'ours', LAYERS))
    } finally {
      await unmount(merged)
      await dockerd.docker(['rm', id])
    }
  })
})

const configurationOf = (layers: readonly Buffer[]): Buffer =>
  Buffer.from(
    JSON.stringify({
      ...hostPlatform(),
      config: { Cmd: ['/x'] },
      rootfs: { type: 'layers', diff_ids: layers.map((tar) => digestOf(tar)) },
    }),
  )

async function writeLayout(folder: string, tars: readonly Buffer[]): Promise<string> {
  await mkdir(join(folder, 'blobs/sha256'), { recursive: true })
  const add = async (mediaType: string, bytes: Buffer) => {
    const digest = digestOf(bytes)
    await writeFile(join(folder, 'blobs', digest.replace(':', '/')), bytes)
    return { mediaType, digest, size: bytes.length }
  }
  const type = 'application/vnd.oci.image'
  const layers = []
  for (const tar of tars) layers.push(await add(`${type}.layer.v1.tar+gzip`, gzipSync(tar)))
  const config = await add(`${type}.config.v1+json`, configurationOf(tars))
  const manifest = { schemaVersion: 2, mediaType: `${type}.manifest.v1+json`, config, layers }
  const described = await add(manifest.mediaType, Buffer.from(JSON.stringify(manifest)))
  const annotations = { 'org.opencontainers.image.ref.name': 'latest' }
  await writeFile(
    join(folder, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...described, annotations }] }),
  )
  await writeFile(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  return folder
}

/** As `docker save` has it. */
function dockerArchive(): Buffer {
  const archive = new Archive()
  const configuration = configurationOf(LAYERS)
  const config = `${digestOf(configuration).slice(7)}.json`
  archive.file(config, configuration)
  LAYERS.forEach((tar, i) => void archive.file(`${i}.tar`, tar))
  const manifest = [{ Config: config, RepoTags: ['all:latest'], Layers: LAYERS.map((_, i) => `${i}.tar`) }]
  return archive.file('manifest.json', JSON.stringify(manifest)).bytes()
}

async function ours(
  workspace: Workspace,
  name: string,
  tars: readonly Buffer[],
): Promise<Readonly<Record<string, string>>> {
  const layers = new Layers(await StoreFolders.open(workspace.path(`${name}-store`)))
  const diffIds = tars.map((tar) => digestOf(tar))
  const chain = chainIds(diffIds)
  const folders: string[] = []
  for (const [i, tar] of tars.entries()) {
    const blob = gzipSync(tar)
    const path = workspace.path(`layer-${i}`)
    await writeFile(path, blob)
    const digest = digestOf(blob)
    const source = { digest, diffId: diffIds[i] as Digest, compressedBytes: blob.length, isNew: true, path }
    folders.push(await (await layers.unpack(source, chain[i] as Digest)).publish(folders))
  }
  const merged = await overlay(workspace, name, folders.toReversed())
  try {
    return await listing(merged)
  } finally {
    await unmount(merged)
  }
}

async function overlay(workspace: Workspace, name: string, lower: readonly string[]): Promise<string> {
  const [upper = '', work = '', target = ''] = ['upper', 'work', 'merged'].map((part) => workspace.path(name, part))
  for (const folder of [upper, work, target]) await mkdir(folder, { recursive: true })
  mountOverlay({ lower: [...lower], upper, work, target })
  return target
}

/** A line of metadata for each path below `root`. */
async function listing(root: string): Promise<Readonly<Record<string, string>>> {
  const lines: Record<string, string> = {}
  const groups = new Map<bigint, string>()
  for (const name of (await readdir(root, { recursive: true })).sort()) {
    const path = join(root, name)
    const status = await lstat(path, { bigint: true })
    const { mode, uid, gid, size, nlink, mtimeNs, rdev, ino } = status
    const isFile = status.isFile()
    const parts = [`mode=${mode.toString(8)}`, `owner=${uid}:${gid}`, `mtime=${mtimeNs}`, `device=${rdev}`]
    if (isFile) {
      parts.push(
        `size=${size}`,
        `links=${nlink}`,
        `sha256=${createHash('sha256')
          .update(await readFile(path))
          .digest('hex')}`,
      )
      if (nlink > 1n) parts.push(`with=${groups.get(ino) ?? name}`)
      if (!groups.has(ino)) groups.set(ino, name)
    }
    if (status.isSymbolicLink()) parts.push(`to=${await readlink(path)}`)
    const attributes = execFileSync('getfattr', [
      '-h',
      '-d',
      '-m',
      '^(user|security|system)\\.',
      '-e',
      'hex',
      '--absolute-names',
      path,
    ])
    parts.push(
      ...attributes
        .toString()
        .split('\n')
        .filter((line) => line.includes('='))
        .sort(),
    )
    lines[name] = parts.join(' ')
  }
  return lines
}
