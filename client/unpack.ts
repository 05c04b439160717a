/**
 * One layer's blob becomes one folder. What it says is checked here (names of whiteouts, types, limits, diffID); that nothing it says reaches
 * beyond the folder is the native writer's promise. Every complaint names the layer and the entry.
 */
import { createHash } from 'node:crypto'
import { constants } from 'node:os'
import { type EntryAttributes, LayerWriter } from '../native/layer-writer.ts'
import { algorithmOf, type Digest, hexOf } from '../storage/model/digest.ts'
import { decompress } from './decompress.ts'
import { printable, readTar, type TarEntry } from './tar.ts'

const ENTRY_LIMIT = 2_000_000
/** An image has a few dozen; the runtime makes its own, and lets none of these work. */
const DEVICE_LIMIT = 1_000
/** A tar may be so much larger than its blob: 1 GiB for whatever it is, and then what ordinary content reaches. */
const FREE_BYTES = 2 ** 30
const RATIO_LIMIT = 250
const XATTR_LIMIT_BYTES = 64 * 1024

const WHITEOUT = '.wh.'
const OPAQUE = '.wh..wh..opq'
const AUFS = '.wh..wh.'

/** What is wrong with a layer. */
export class UnpackError extends Error {
  override readonly name = 'UnpackError'
}

export interface LayerSource {
  /** Of the blob; what messages call the layer. */
  readonly digest: Digest
  readonly diffId: Digest
  readonly compressedBytes: number
  /** It was downloaded just now, so that nobody has compared its content with the diffID yet. */
  readonly isNew: boolean
  /** The blob as pulled. Called only if the layer is not here yet. */
  open(): AsyncIterable<Uint8Array>
}

export interface UnpackedLayer {
  /** Something in it needs the layers below: `completeAgainst` must be called before it is used. */
  readonly needsLower: boolean
  /** `lower`: the folders of the layers below, the lowest first. */
  completeAgainst(lower: readonly string[]): Promise<void>
}

/** Throws `UnpackError` if the content has another diffID. For a layer whose content is here, and need not be unpacked again. */
export async function verifyLayer(source: LayerSource, signal?: AbortSignal): Promise<void> {
  try {
    for await (const _ of tarOf(source, signal));
  } catch (cause) {
    signal?.throwIfAborted()
    throw complaint(source, cause)
  }
}

/** Fills `folder`, which is empty and ours. Throws `UnpackError`; what was written so far is the caller's to remove. */
export async function unpackLayer(folder: string, source: LayerSource, signal?: AbortSignal): Promise<UnpackedLayer> {
  const writer = await LayerWriter.open(folder)
  let at: TarEntry | undefined
  try {
    let entries = 0
    let devices = 0
    for await (const entry of readTar(tarOf(source, signal))) {
      at = entry
      if (++entries > ENTRY_LIMIT) throw new UnpackError(`more than ${ENTRY_LIMIT} entries`)
      if (entry.type.endsWith('-device') && ++devices > DEVICE_LIMIT)
        throw new UnpackError(`more than ${DEVICE_LIMIT} device nodes: a device bomb`)
      await apply(writer, entry)
      at = undefined
    }
    const { needsLower } = await writer.finish()
    if (!needsLower) await writer.close()
    return {
      needsLower,
      completeAgainst: async (lower) => {
        try {
          await writer.completeAgainst(lower)
        } catch (cause) {
          throw complaint(source, cause)
        } finally {
          await writer.close()
        }
      },
    }
  } catch (cause) {
    await writer.close()
    signal?.throwIfAborted()
    throw complaint(source, cause, at ? `, entry ${printable(at.path)}` : '')
  }
}

const DISK_FAULTS = new Set<unknown>([constants.errno.ENOSPC, constants.errno.EDQUOT, constants.errno.EIO])

/** An `UnpackError`, unless it is the disk's fault and not the layer's. */
function complaint({ digest }: LayerSource, cause: unknown, where = ''): Error {
  const { errno, message: what } = cause as Error & { readonly errno?: unknown }
  const advice = errno === constants.errno.EPERM && process.getuid?.() !== 0 ? '; unpacking images needs root' : ''
  const message = `layer ${digest}${where}: ${what}${advice}`
  return DISK_FAULTS.has(errno) ? new Error(message, { cause }) : new UnpackError(message, { cause })
}

const tarOf = ({ open, diffId, compressedBytes }: LayerSource, signal?: AbortSignal): AsyncIterable<Uint8Array> =>
  limited(hashed(decompress(abortable(open(), signal)), diffId), compressedBytes)

async function apply(writer: LayerWriter, entry: TarEntry): Promise<void> {
  const { type, path } = entry
  const { parent, name } = split(path)
  if (name.startsWith(WHITEOUT)) return await applyWhiteout(writer, parent, name)
  if (type === 'hardlink') return await writer.hardlink(path, entry.linkPath)
  const attributes = attributesOf(entry)
  if (type === 'directory') return await writer.directory(path, attributes)
  if (type === 'symlink') return await writer.symlink(path, entry.linkPath, attributes)
  if (type === 'file') return await writer.file(path, entry.sizeBytes, entry.content, attributes)
  await writer.node(path, type, entry.major, entry.minor, attributes)
}

/** Whiteouts hide what lower layers have, never what this layer brings, whatever the order (image-spec, layer.md). */
async function applyWhiteout(writer: LayerWriter, parent: Buffer, name: string): Promise<void> {
  if (name === OPAQUE) return await writer.opaque(parent)
  if (name.startsWith(AUFS)) return // what aufs keeps for itself
  const hidden = name.slice(WHITEOUT.length)
  if (hidden === '' || hidden === '.' || hidden === '..')
    throw new UnpackError('a whiteout that hides nothing which could be there')
  await writer.whiteout(join(parent, Buffer.from(hidden, 'latin1')))
}

function attributesOf({ mode, uid, gid, modifiedNanoseconds, xattrs }: TarEntry): EntryAttributes {
  let bytes = 0
  for (const [name, value] of xattrs) bytes += Buffer.byteLength(name) + value.length
  if (bytes > XATTR_LIMIT_BYTES) throw new UnpackError(`${bytes} bytes of extended attributes`)
  return { mode, uid, gid, modifiedNanoseconds, xattrs }
}

/** The last component, as latin1 so that no byte is lost, and what is before it. */
function split(path: Buffer): { readonly parent: Buffer; readonly name: string } {
  let end = path.length
  while (end > 0 && path[end - 1] === 0x2f) end--
  const slash = path.subarray(0, end).lastIndexOf(0x2f)
  return { parent: path.subarray(0, Math.max(0, slash)), name: path.toString('latin1', slash + 1, end) }
}

const join = (parent: Buffer, name: Buffer): Buffer =>
  parent.length === 0 ? name : Buffer.concat([parent, Buffer.from('/'), name])

/** Passes the tar on, and fails at its end if it is not what the image's configuration says. */
async function* hashed(tar: AsyncIterable<Uint8Array>, diffId: Digest): AsyncGenerator<Uint8Array> {
  const hash = createHash(algorithmOf(diffId))
  for await (const chunk of tar) {
    hash.update(chunk)
    yield chunk
  }
  const actual = hash.digest('hex')
  if (hexOf(diffId) !== actual)
    throw new UnpackError(
      `its content has the digest ${actual}, not the diff_id ${diffId} of the image's configuration`,
    )
}

async function* limited(tar: AsyncIterable<Uint8Array>, compressedBytes: number): AsyncGenerator<Uint8Array> {
  const limit = FREE_BYTES + RATIO_LIMIT * compressedBytes
  let length = 0
  for await (const chunk of tar) {
    length += chunk.length
    if (length > limit)
      throw new UnpackError(`it unpacks to more than ${limit} bytes from ${compressedBytes}: a decompression bomb`)
    yield chunk
  }
}

async function* abortable(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    signal?.throwIfAborted()
    yield chunk
  }
}
