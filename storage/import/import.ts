/**
 * Another registry's tree becomes ours: for each repository its blobs, then its manifests by digest, then its tags. What
 * is to be done is found by a look at our store, so that an import that was killed goes on when it is begun again, and
 * one that is repeated brings what is new. Bytes go the way of every upload, hashed before they have a name; they are
 * never shared with the old tree (a hard link would let whoever still writes there change ours).
 */
import type { Readable } from 'node:stream'
import { forEachAtOnce } from '../at-once.ts'
import type { StorageDriver } from '../driver.ts'
import {
  BlobUnknown,
  DigestMismatch,
  ManifestInvalid,
  ManifestUnknown,
  PreconditionFailed,
  RecordDamaged,
  RepositoryUnknown,
  SizeMismatch,
  StorageUnavailable,
} from '../errors.ts'
import { algorithmOf, type Digest, digestOf } from '../model/digest.ts'
import { type MediaType, OCI_INDEX, OCI_MANIFEST, parseMediaType } from '../model/media-type.ts'
import type { RepositoryName, Tag } from '../model/reference.ts'
import type { Repository, Store, StoredManifest } from '../store.ts'
import { Tags } from '../tags.ts'
import { type Broken, type DistributionTree, isBroken, type Link } from './distribution.ts'
import { ForeignFileUnusable } from './foreign-tree.ts'

/** What moves that were made by an import are signed with; no account can be called so. */
const IMPORTED_BY = 'gantry import'
const MOST_MANIFEST_BYTES = 16 * 1024 * 1024
const RECORDS_AT_ONCE = 8

type ProblemKind = 'link' | 'blob' | 'manifest' | 'schema1' | 'tag'

/** Something that was left out. */
export interface Problem {
  readonly kind: ProblemKind
  readonly repository?: string
  /** A digest, a tag, or a path in the old tree. */
  readonly what: string
  readonly says: string
}

export interface ImportCounts {
  readonly repositories: number
  readonly blobs: number
  readonly manifests: number
  readonly tags: number
  /** Of blobs that were copied. */
  readonly bytes: number
  /** Blobs, manifests and tags that were there already. */
  readonly there: number
  readonly problems: number
}

export interface ImportParts {
  readonly tree: DistributionTree
  readonly driver: StorageDriver
  /** Opened with the reference policy `sparse`: what the old registry held in parts is held in the same parts. */
  readonly store: Store
}

export interface ImportOptions {
  readonly wants: (name: RepositoryName) => boolean
  readonly blobsAtOnce: number
  readonly onProblem: (problem: Problem) => void
  readonly onProgress: (counts: ImportCounts, name: RepositoryName) => void
}

/** Throws `StorageUnavailable`, and what reading a folder of the old tree throws: what was done until then stays done. */
export async function importTree({ tree, driver, store }: ImportParts, options: ImportOptions): Promise<ImportCounts> {
  const counts = { repositories: 0, blobs: 0, manifests: 0, tags: 0, bytes: 0, there: 0, problems: 0 }
  const tags = new Tags(driver)

  for await (const name of tree.repositories()) {
    if (isBroken(name)) {
      report({ kind: 'link', what: name.path, says: name.says })
      continue
    }
    if (!options.wants(name)) continue
    const repository = store.repository(name)
    const done = (what: 'blobs' | 'manifests' | 'tags' | 'there', bytes = 0): void => {
      counts[what] += 1
      counts.bytes += bytes
      options.onProgress(counts, name)
    }
    await forEachAtOnce(
      tree.layers(name),
      options.blobsAtOnce,
      unlessBroken(name, (link) => blob(repository, link, done)),
    )
    await forEachAtOnce(
      tree.revisions(name),
      RECORDS_AT_ONCE,
      unlessBroken(name, (link) => manifest(repository, link, done)),
    )
    await forEachAtOnce(
      tree.tags(name),
      RECORDS_AT_ONCE,
      unlessBroken(name, (each) => tag(repository, each, done)),
    )
    counts.repositories += 1
  }
  return counts

  function report(problem: Problem): void {
    counts.problems += 1
    options.onProblem(problem)
  }

  function unlessBroken<T extends object>(
    repository: RepositoryName,
    work: (found: T) => Promise<void>,
  ): (found: T | Broken) => Promise<void> {
    return async (found) => {
      if (isBroken(found)) report({ kind: 'link', repository, what: found.path, says: found.says })
      else await work(found)
    }
  }

  async function blob(repository: Repository, { digest, stored }: Link, done: Done): Promise<void> {
    const { name } = repository
    if ((await sizeOfBlob(repository, digest)) !== undefined) return done('there')
    const failed = (says: string): void => report({ kind: 'blob', repository: name, what: digest, says })
    try {
      const sizeBytes = await tree.sizeOf(stored)
      if (sizeBytes === undefined) return failed(`${tree.pathOf(stored)} is missing`)
      if (await repository.mountBlob(digest, async () => true)) return done('blobs')
      const body = await tree.open(stored)
      if (!body) return failed(`${tree.pathOf(stored)} is missing`)
      await store.uploads.push(name, digest, readable(body), { lengthBytes: sizeBytes, mayEmptyPieces: true })
      done('blobs', sizeBytes)
    } catch (error) {
      const isOfBlob = [DigestMismatch, SizeMismatch, ForeignFileUnusable].some((kind) => error instanceof kind)
      if (!isOfBlob) throw error
      failed(`${tree.pathOf(stored)} is damaged: ${(error as Error).message}`)
    }
  }

  async function manifest(repository: Repository, { digest, stored }: Link, done: Done): Promise<void> {
    if (await manifestOf(repository, digest)) return done('there')
    const failed = (says: string, kind: ProblemKind = 'manifest'): void =>
      report({ kind, repository: repository.name, what: digest, says })
    try {
      const bytes = await tree.readSmall(stored, MOST_MANIFEST_BYTES)
      if (!bytes) return failed(`${tree.pathOf(stored)} is missing`)
      const actual = digestOf(bytes, algorithmOf(digest))
      if (actual !== digest) return failed(`${tree.pathOf(stored)} is damaged: its bytes are ${actual}`)
      const mediaType = mediaTypeOf(bytes)
      if (mediaType === 'schema1') {
        return failed('docker schema 1, which no registry serves any more: push the image again', 'schema1')
      }
      await repository.putManifest({ mediaType, bytes, digest, tags: [], pushedBy: IMPORTED_BY })
      done('manifests')
    } catch (error) {
      const isOfManifest = [ManifestInvalid, ForeignFileUnusable, RecordDamaged].some((kind) => error instanceof kind)
      if (!isOfManifest) throw error
      failed((error as Error).message)
    }
  }

  /** A tag that somebody has pushed to us since is theirs: it is not moved back. */
  async function tag(repository: Repository, found: { tag: Tag; digest: Digest }, done: Done): Promise<void> {
    const failed = (says: string): void => report({ kind: 'tag', repository: repository.name, what: found.tag, says })
    const target = await manifestOf(repository, found.digest)
    if (!target) return failed(`it points to ${found.digest}, which is not among the manifests that could be imported`)
    const current = (await manifestOf(repository, found.tag))?.digest
    if (current === found.digest) return done('there')
    const kept = `it was pushed here since, and is left alone; in the old registry it is ${found.digest}`
    const lastMove = (await tags.find(repository.name, found.tag))?.moves.at(-1)
    if (current !== undefined && lastMove?.by !== IMPORTED_BY) return failed(kept)
    const condition = current === undefined ? { ifNoneMatch: '*' as const } : { ifMatch: [current] }
    try {
      await repository.putManifest({ ...target, tags: [found.tag], condition, pushedBy: IMPORTED_BY })
      done('tags')
    } catch (error) {
      if (error instanceof RecordDamaged) return failed(error.message)
      if (!(error instanceof PreconditionFailed)) throw error
      failed(kept)
    }
  }
}

type Done = (what: 'blobs' | 'manifests' | 'tags' | 'there', bytes?: number) => void

/** What the old tree cannot give is a fact about one file; a service that does not answer is one about all. */
async function* readable(body: Readable): AsyncGenerator<Uint8Array> {
  try {
    yield* body as AsyncIterable<Uint8Array>
  } catch (error) {
    if (error instanceof StorageUnavailable) throw error
    throw new ForeignFileUnusable(error instanceof Error ? error.message : String(error), { cause: error })
  }
}

/** `undefined` unless it can be served. */
export async function sizeOfBlob(repository: Repository, digest: Digest): Promise<number | undefined> {
  try {
    return (await repository.statBlob(digest)).sizeBytes
  } catch (error) {
    if (error instanceof BlobUnknown) return undefined
    throw error
  }
}

/** `undefined` unless it can be served. */
export async function manifestOf(repository: Repository, reference: Tag | Digest): Promise<StoredManifest | undefined> {
  try {
    return await repository.getManifest(reference)
  } catch (error) {
    if (error instanceof ManifestUnknown || error instanceof RepositoryUnknown) return undefined
    throw error
  }
}

/** The old registry tells types by the document, as here. Throws `ManifestInvalid` for what is no manifest. */
function mediaTypeOf(bytes: Uint8Array): MediaType | 'schema1' {
  const document = parsed(bytes)
  if (document['schemaVersion'] === 1) return 'schema1'
  if (typeof document['mediaType'] === 'string') return parseMediaType(document['mediaType'])
  return 'manifests' in document ? OCI_INDEX : OCI_MANIFEST
}

function parsed(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const document: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'))
    if (typeof document === 'object' && document !== null) return document as Record<string, unknown>
  } catch {
    // said below
  }
  throw new ManifestInvalid('$', 'no JSON object', 'a manifest')
}
