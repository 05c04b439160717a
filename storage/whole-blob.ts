/**
 * A small blob that comes in one request needs nothing that could be gone on with: it is gathered, hashed while it is
 * written under a name that nobody knows, and published and linked at the same time.
 */
import { ResumableHash } from '../native/hash.ts'
import { bothEnded } from './at-once.ts'
import type { Blobs } from './blobs.ts'
import { blocksOf } from './blocks.ts'
import type { StorageDriver } from './driver.ts'
import { DigestMismatch } from './errors.ts'
import { blobKey } from './layout.ts'
import { algorithmOf, type Digest, formatDigest } from './model/digest.ts'
import type { RepositoryName } from './model/reference.ts'
import type { BlobStat } from './store.ts'
import { empty } from './upload-hashes.ts'

/** Of declared length. Larger ones are worth going on with. */
export const WHOLE_BLOB_BYTES = 1024 * 1024
/** More pieces than this are put together first. */
const PIECES = 256

export interface WholeBlob {
  readonly digest: Digest
  readonly source: AsyncIterable<Uint8Array>
  readonly lengthBytes: number
  /** As in `AppendOptions`. */
  readonly mayEmptyPieces?: boolean | undefined
}

/**
 * Durable, and served by `name`, when resolved; nothing of it is left if it fails. Throws `DigestMismatch`, `SizeMismatch`, the source's error,
 * the signal's reason.
 */
export async function storeWholeBlob(
  { driver, blobs }: { readonly driver: StorageDriver; readonly blobs: Blobs },
  name: RepositoryName,
  { digest, source, lengthBytes, mayEmptyPieces = false }: WholeBlob,
  signal: AbortSignal,
): Promise<BlobStat> {
  const pieces: Uint8Array[] = []
  for await (const block of blocksOf(source, 0, lengthBytes, signal)) pieces.push(...block)
  const block = pieces.length > PIECES ? [Buffer.concat(pieces)] : pieces

  const staging = driver.stageWhole(block)
  staging.catch(() => {}) // thrown below
  const hash = new ResumableHash(algorithmOf(digest))
  await hash.update(block)
  const actual = formatDigest(algorithmOf(digest), hash.digestHex())
  if (actual !== digest) {
    await (await staging).discard()
    throw new DigestMismatch(`the ${lengthBytes} bytes that arrived are ${actual}, not ${digest}`)
  }
  // A crash between the two leaves a blob without a link, or a link without a blob: both are unknown to everybody, unless others have
  // pushed the blob; and whoever brought all of its bytes may be linked to it.
  const publish = async (): Promise<string> => {
    const staged = await staging
    if (mayEmptyPieces) empty(block)
    return await staged.publish(blobKey(digest))
  }
  const [identity] = await bothEnded(publish(), blobs.link(name, digest, lengthBytes))
  blobs.verified(digest, identity)
  return { digest, sizeBytes: lengthBytes }
}
