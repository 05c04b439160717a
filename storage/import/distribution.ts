/**
 * The tree that distribution (docker-registry 2.x, distribution v3) writes, below its `rootdirectory`:
 *
 *     docker/registry/v2/repositories/<name>/_layers/<alg>/<hex>/link                  this repository may serve the blob
 *                                           /_manifests/revisions/<alg>/<hex>/link    … the manifest
 *                                           /_manifests/tags/<tag>/current/link       where a tag points
 *                       /blobs/<alg>/<hh>/<hex>/data                                  bytes, of blobs and manifests
 *
 * A link is a file with a digest: usually that of its folder; content that was pushed as sha512 lies under its sha256.
 */
import type { Readable } from 'node:stream'
import { DigestInvalid, NameInvalid, TagInvalid } from '../errors.ts'
import { algorithmOf, type Digest, hexOf, parseDigest } from '../model/digest.ts'
import { parseRepositoryName, parseTag, type RepositoryName, type Tag } from '../model/reference.ts'
import { ForeignFileUnusable, type ForeignTree } from './foreign-tree.ts'

/** Operators give the `rootdirectory`, or a folder further down. */
const ROOTS = ['docker/registry/v2/', 'registry/v2/', 'v2/', '']
const MOST_LINK_BYTES = 1024

/** What cannot be used: where it is, relative to the tree, and why. */
export interface Broken {
  readonly path: string
  readonly says: string
}

export interface Link {
  /** What clients know the content by. */
  readonly digest: Digest
  /** What its bytes are stored under. */
  readonly stored: Digest
}

export class DistributionTree {
  readonly #tree: ForeignTree
  readonly #root: string

  private constructor(tree: ForeignTree, root: string) {
    this.#tree = tree
    this.#root = root
  }

  /** `undefined` if there is no such tree. */
  static async find(tree: ForeignTree): Promise<DistributionTree | undefined> {
    for (const root of ROOTS) {
      for await (const _ of tree.list(`${root}repositories/`)) return new DistributionTree(tree, root)
    }
    return undefined
  }

  /** A name may have others below it. */
  async *repositories(below = ''): AsyncGenerator<RepositoryName | Broken> {
    const folder = `${this.#root}repositories/${below}`
    let isRepository = false
    for await (const entry of this.#tree.list(folder)) {
      if (entry === '_manifests/' || entry === '_layers/') isRepository = true
      else if (entry.endsWith('/') && !entry.startsWith('_')) yield* this.repositories(below + entry)
    }
    if (isRepository) yield judged(folder, () => parseRepositoryName(below.replace(/\/$/, '')))
  }

  layers(name: RepositoryName): AsyncGenerator<Link | Broken> {
    return this.#links(`${this.#root}repositories/${name}/_layers/`)
  }

  revisions(name: RepositoryName): AsyncGenerator<Link | Broken> {
    return this.#links(`${this.#root}repositories/${name}/_manifests/revisions/`)
  }

  async *tags(name: RepositoryName): AsyncGenerator<{ readonly tag: Tag; readonly digest: Digest } | Broken> {
    const folder = `${this.#root}repositories/${name}/_manifests/tags/`
    for await (const entry of this.#tree.list(folder)) {
      const tag = judged(folder + entry, () => parseTag(entry.replace('/', '')))
      const digest = await this.#digestIn(`${folder}${entry}current/link`)
      if (isBroken(tag)) yield tag
      else yield isBroken(digest) ? digest : { tag, digest }
    }
  }

  /** `undefined` if they are not there. */
  sizeOf(stored: Digest): Promise<number | undefined> {
    return this.#tree.sizeOf(this.pathOf(stored))
  }

  open(stored: Digest): Promise<Readable | undefined> {
    return this.#tree.open(this.pathOf(stored))
  }

  /** Throws `ForeignFileUnusable` if they are more. */
  readSmall(stored: Digest, mostBytes: number): Promise<Uint8Array | undefined> {
    return this.#tree.readSmall(this.pathOf(stored), mostBytes)
  }

  pathOf(stored: Digest): string {
    const hex = hexOf(stored)
    return `${this.#root}blobs/${algorithmOf(stored)}/${hex.slice(0, 2)}/${hex}/data`
  }

  async *#links(folder: string): AsyncGenerator<Link | Broken> {
    for await (const algorithm of this.#tree.list(folder)) {
      for await (const entry of this.#tree.list(folder + algorithm)) {
        const place = folder + algorithm + entry
        const digest = judged(place, () => parseDigest(`${algorithm}${entry}`.replace('/', ':').replace('/', '')))
        const stored = await this.#digestIn(`${place}link`)
        if (isBroken(digest)) yield digest
        else yield isBroken(stored) ? stored : { digest, stored }
      }
    }
  }

  async #digestIn(path: string): Promise<Digest | Broken> {
    try {
      const bytes = await this.#tree.readSmall(path, MOST_LINK_BYTES)
      if (!bytes) return { path, says: 'there is no such link' }
      return judged(path, () => parseDigest(Buffer.from(bytes).toString('utf8').trim()))
    } catch (error) {
      if (error instanceof ForeignFileUnusable) return { path, says: error.message }
      throw error
    }
  }
}

export const isBroken = (found: object | string): found is Broken => typeof found === 'object' && 'says' in found

function judged<T>(path: string, parse: () => T): T | Broken {
  try {
    return parse()
  } catch (error) {
    const isKnown = error instanceof DigestInvalid || error instanceof NameInvalid || error instanceof TagInvalid
    if (isKnown) return { path, says: error.message }
    throw error
  }
}
