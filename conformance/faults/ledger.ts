/**
 * What a client was told, by repository: for each name the states that it may have. One, once a change was acknowledged; several
 * while a change was asked for and nobody answered. Whatever is found outside of them is a fault of the registry.
 */
import { createHash } from 'node:crypto'

export const sha256 = (bytes: Uint8Array | string): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`

/** The states that a thing may be in. */
export class May<T> {
  #states: ReadonlySet<T>

  constructor(state: T) {
    this.#states = new Set([state])
  }

  /** The change was acknowledged. */
  is(state: T): void {
    this.#states = new Set([state])
  }

  /** The change was asked for, and nobody said whether it was made. */
  mayBe(state: T): void {
    this.#states = new Set([...this.#states, state])
  }

  /** Whatever it is, it is not that. */
  isNot(state: T): void {
    this.#states = new Set([...this.#states].filter((one) => one !== state))
  }

  has(state: T): boolean {
    return this.#states.has(state)
  }

  must(state: T): boolean {
    return this.#states.size === 1 && this.#states.has(state)
  }

  toString(): string {
    return [...this.#states].join(' or ')
  }
}

export interface PushedBlob {
  readonly sizeBytes: number
  readonly linked: May<boolean>
}

export interface PushedManifest {
  readonly bytes: string
  readonly subject: string | undefined
  /** Digests of what it refers to. */
  readonly blobs: readonly string[]
  readonly live: May<boolean>
}

/** No tag. */
export const GONE = ''

export class RepositoryLedger {
  readonly name: string
  /** By digest: everything that was ever sent here, closed or not. */
  readonly blobs = new Map<string, PushedBlob>()
  readonly manifests = new Map<string, PushedManifest>()
  /** By tag: the digest, or `GONE`. */
  readonly tags = new Map<string, May<string>>()

  constructor(name: string) {
    this.name = name
  }

  blob(digest: string, sizeBytes: number): May<boolean> {
    const known = this.blobs.get(digest) ?? { sizeBytes, linked: new May(false) }
    this.blobs.set(digest, known)
    return known.linked
  }

  tag(name: string): May<string> {
    const known = this.tags.get(name) ?? new May(GONE)
    this.tags.set(name, known)
    return known
  }

  /** Digests of blobs that are certainly here. */
  certainBlobs(): string[] {
    return [...this.blobs].flatMap(([digest, { linked }]) => (linked.must(true) ? [digest] : []))
  }

  /** What a push of the manifest must be answered, once somebody can: `undefined` while it is not certain whether its blobs are here. */
  isComplete({ blobs }: PushedManifest): boolean | undefined {
    const links = blobs.map((digest) => this.blobs.get(digest)?.linked)
    if (links.every((linked) => linked?.must(true))) return true
    return links.some((linked) => linked?.must(false)) ? false : undefined
  }

  certainManifests(): string[] {
    return [...this.manifests].flatMap(([digest, { live }]) => (live.must(true) ? [digest] : []))
  }
}
