/**
 * Files in and out of a container as a tar. On the way they lie in a temporary folder that nobody else may enter, so that both halves are what they are
 * elsewhere: the copy that a container cannot lead astray (copy-files.ts), and the unpacking that an archive cannot (native/layer-unpack.ts).
 */
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream, type Stats } from 'node:fs'
import { lstat, mkdir, mkdtemp, open, readdir, readlink, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Header, type Pack, pack } from 'tar-stream'
import { UnpackedFolder } from '../../native/layer-unpack.ts'
import { decompress } from '../store/decompress.ts'
import { copyIn, copyOut } from './copy-files.ts'
import type { House } from './house.ts'
import { RequestError } from './request-error.ts'

const LIMITS = {
  tarBytes: Number.MAX_SAFE_INTEGER, // the disk's: whoever gives it has it
  entries: 2_000_000,
  devices: 1_000,
  xattrBytes: 64 * 1024,
  pathBytes: 256 * 1024 * 1024,
}
const TYPE = 0o170000
const TYPES: Readonly<Record<number, NonNullable<Header['type']>>> = {
  32768: 'file',
  16384: 'directory',
  40960: 'symlink',
  4096: 'fifo',
  8192: 'character-device',
  24576: 'block-device',
}

/** With owners and modes; a folder under its own name, `FOLDER/.` as what is in it. Throws as `copyOut`. */
export async function copyOutArchive(
  house: House,
  reference: string,
  path: string,
  output: Writable,
  options: { readonly followLink?: boolean } = {},
): Promise<void> {
  await using temporary = await temporaryFolder()
  const tree = join(temporary.path, 'tree')
  await mkdir(tree)
  await copyOut(house, reference, path, tree, { ...options, keepOwners: true })
  const tar = pack()
  const written = pipeline(tar, output, { end: false })
  written.catch(() => {}) // below
  try {
    await addAll(tar, tree, '', new Map())
    tar.finalize()
  } catch (error) {
    tar.destroy(error as Error)
  }
  await written
}

/** Into a folder that is there, with the owners that the archive names; it may be compressed. Throws as `copyIn`, and `RequestError` for what is no archive. */
export async function copyInArchive(house: House, input: Readable, reference: string, path: string): Promise<void> {
  await using temporary = await temporaryFolder()
  const [archive, tree] = [join(temporary.path, 'tar'), join(temporary.path, 'tree')]
  const hash = createHash('sha256')
  await pipeline(
    decompress(input),
    async function* (chunks: AsyncIterable<Uint8Array>) {
      for await (const chunk of chunks) {
        hash.update(chunk)
        yield chunk
      }
    },
    createWriteStream(archive, { flags: 'wx', mode: 0o600 }),
  )
  await mkdir(tree)
  await unpack(archive, hash.digest('hex'), tree)
  await copyIn(house, `${tree}/.`, reference, path, { keepOwners: true })
}

async function unpack(archive: string, digestHex: string, tree: string): Promise<void> {
  await using file = await open(archive)
  const blob = { descriptor: file.fd, compression: 'none', algorithm: 'sha256', digestHex, limits: LIMITS } as const
  try {
    await (await UnpackedFolder.fill(tree, blob)).close()
  } catch (cause) {
    throw new RequestError(`standard input is no tar that can be unpacked: ${(cause as Error).message}`, 1, { cause })
  }
}

async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'gantry-copy-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

/** `links`: under which name each file with several names is already in the tar. */
async function addAll(tar: Pack, folder: string, prefix: string, links: Map<string, string>): Promise<void> {
  for (const name of (await readdir(folder)).toSorted()) {
    const path = join(folder, name)
    const status = await lstat(path)
    await add(tar, path, `${prefix}${name}${status.isDirectory() ? '/' : ''}`, status, links)
    if (status.isDirectory()) await addAll(tar, path, `${prefix}${name}/`, links)
  }
}

async function add(tar: Pack, path: string, name: string, status: Stats, links: Map<string, string>): Promise<void> {
  const type = TYPES[status.mode & TYPE]
  if (type === undefined) return // a socket: there is no such entry
  const { uid, gid, mtime, dev, ino, nlink, rdev } = status
  const header = { name, uid, gid, mtime, mode: status.mode & 0o7777, type }
  const first = links.get(`${dev} ${ino}`)
  if (type === 'file' && first !== undefined) return await entry(tar, { ...header, type: 'link', linkname: first })
  if (type === 'symlink') return await entry(tar, { ...header, linkname: await readlink(path) })
  if (type !== 'file') return await entry(tar, { ...header, devmajor: (rdev >> 8) & 0xfff, devminor: rdev & 0xff })
  if (nlink > 1) links.set(`${dev} ${ino}`, name)
  const done = Promise.withResolvers<void>()
  const sink = tar.entry({ ...header, size: status.size }, (error) => (error ? done.reject(error) : done.resolve()))
  await Promise.all([pipeline(createReadStream(path), sink), done.promise])
}

function entry(tar: Pack, header: Parameters<Pack['entry']>[0]): Promise<void> {
  return new Promise((resolve, reject) => {
    tar.entry(header, (error) => (error ? reject(error) : resolve()))
  })
}
