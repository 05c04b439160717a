/**
 * Where images come from and where they go: a repository of a registry, an OCI layout in a folder or in a tar, an archive of docker's, the
 * local store. What all of them can do, so that `copy`, `push`, `save` and the others are one piece of work (`copy.ts`). What comes from a source is bounded,
 * but not yet believed; a target keeps nothing that is not what its digest says.
 */
import type { Movement } from '../../native/plain-socket.ts'
import type { Digest } from '../../storage/model/digest.ts'
import type { Reference } from '../../storage/model/manifest.ts'
import type { Received, ReceivingFile } from '../store/content.ts'

export interface FetchedManifest {
  readonly bytes: Buffer
  /** Without parameters. */
  readonly mediaType: string
  /** As the place says; to be checked like everything else. */
  readonly digest?: Digest
}

/** What a list says of a manifest. */
type Descriptor = Pick<Reference, 'digest' | 'mediaType' | 'size'>

/** A blob as a manifest names it. */
export interface BlobIdentity {
  readonly digest: Digest
  readonly sizeBytes: number
}

export interface BlobPart {
  readonly fromByte?: number
  readonly signal?: AbortSignal | undefined
}

/** What goes into a plain socket without passing through JavaScript. */
export interface DirectBody extends AsyncDisposable {
  /**
   * Once. `descriptor`: of a socket that does not block, and into which nobody else writes meanwhile. The movement fails with the system's error where that
   * socket does, and with one that has no code of its own where what was to be sent does.
   */
  start(descriptor: number): Movement
}

export interface Stretch {
  readonly fromByte: number
  readonly lengthBytes: number
}

export interface ContentSource extends AsyncDisposable {
  /** For people: `localhost:5000/team/app`, `oci:dir`. */
  readonly label: string
  /** By tag or digest. Throws `NotHere` or a `RegistryRefusal` of status 404 if there is none. */
  manifest(reference: string, signal?: AbortSignal): Promise<FetchedManifest>
  /** At most one byte more than `sizeBytes` is read, so that an endless one is noticed and ends. */
  blob(blob: BlobIdentity, part?: BlobPart): AsyncIterable<Uint8Array>
  /** The same for a socket, where that can be: known to be right, or verified before the last piece is sent. To be disposed of. */
  direct?(blob: BlobIdentity, stretch: Stretch, signal?: AbortSignal): Promise<DirectBody | undefined>
  /**
   * The same into a file, none of it through JavaScript; tells how far it is, and waits until the next is asked for. Ends before all is there where it cannot go on
   * like this, but `blob` can.
   */
  receive?(blob: BlobIdentity, into: ReceivingFile, signal?: AbortSignal): AsyncIterable<Received>
  /** What has `digest` as its subject (distribution-spec, "Listing Referrers"), where such lists are kept. */
  referrers?(digest: Digest, artifactType?: string, signal?: AbortSignal): Promise<readonly Descriptor[]>
}

/** How a blob came to be where it should be: `present` it was, `mounted` from a neighbour, or `sent`. */
export type Arrival = 'present' | 'mounted' | 'sent'

export interface PutBlob extends BlobIdentity {
  /** From a byte on: called again to go on where a connection broke. */
  readonly open: (fromByte: number) => AsyncIterable<Uint8Array>
  /** As a source's. */
  readonly direct?: (stretch: Stretch) => Promise<DirectBody | undefined>
  /** Repositories of the same registry that may have it. */
  readonly mountFrom?: readonly string[]
  /** How much is over there. */
  readonly onBytes?: (bytes: number) => void
  readonly signal?: AbortSignal | undefined
}

export interface PutManifest extends FetchedManifest {
  readonly digest: Digest
  /** Under a name, too; without one it is reachable by digest alone. */
  readonly reference?: string
}

export interface ContentTarget extends AsyncDisposable {
  readonly label: string
  hasManifest(digest: Digest, signal?: AbortSignal): Promise<boolean>
  putBlob(blob: PutBlob): Promise<Arrival>
  /** What it names has been put before. */
  putManifest(manifest: PutManifest, signal?: AbortSignal): Promise<void>
  /** All has been put: makes it last, and visible where it was not yet. */
  finish(signal?: AbortSignal): Promise<void>
}
/** What was asked for is not in a place that is no registry. */
export class NotHere extends Error {
  override readonly name = 'NotHere'
}
