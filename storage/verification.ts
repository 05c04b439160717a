/**
 * Never wrong bytes. An object whose identity is that of its last verification may be sent as it is; any other is hashed
 * while it is sent whole, and its last piece is kept back until the digest is known to be right. A range cannot be hashed by itself: it
 * is sent, and the object is read through in the background. What turns out to be damaged is set aside and unknown from then on, so
 * that whoever has it pushes it again.
 */
import { Readable } from 'node:stream'
import { ResumableHash } from '../native/hash.ts'
import { forgetCached } from '../native/verified-mark.ts'
import type { ObjectRead, StorageDriver } from './driver.ts'
import { BlobDamaged, ObjectNotFound } from './errors.ts'
import { blobKey } from './layout.ts'
import { algorithmOf, type Digest, formatDigest } from './model/digest.ts'
import { Pace } from './pace.ts'

/** So many are remembered, the least recently asked for forgotten first: some megabytes. The place itself remembers all it can. */
const REMEMBERED = 20_000
/** So many wait to be read through in the background; for others the next range asks again. */
const WAITING = 1_000

interface Verdict {
  readonly identity: string
  readonly whole: boolean
}

/** What was found, for the operator: it may be the beginning of a failing disk. */
export interface Damage {
  readonly digest: Digest
  /** The digest of what is there instead. */
  readonly actual: Digest
  /** Where the damaged object is now. */
  readonly keptAt?: string
  /** Why it could not be set aside: only this process knows of it. */
  readonly cause?: unknown
}

export interface VerificationOptions {
  /** For what is read in the background only. */
  readonly bytesPerSecond?: number
  readonly onDamage?: (damage: Damage) => void
}

export interface ReadThrough {
  /** Waited for after each piece; what it throws ends the reading. */
  readonly onPiece?: (bytes: number) => Promise<void>
  /** What the disk has, not what memory has of it. */
  readonly fromDisk?: boolean
}

export class Verification {
  readonly #driver: StorageDriver
  readonly #onDamage: (damage: Damage) => void
  readonly #pace: Pace
  readonly #verdicts = new Map<Digest, Verdict>()
  readonly #waiting = new Set<Digest>()
  readonly #stop = new AbortController()
  #running: Promise<void> | undefined

  constructor(
    driver: StorageDriver,
    { bytesPerSecond = Number.POSITIVE_INFINITY, onDamage = () => {} }: VerificationOptions = {},
  ) {
    this.#driver = driver
    this.#onDamage = onDamage
    this.#pace = new Pace(bytesPerSecond)
  }

  /** `undefined` if this very object was not looked at yet. */
  judge(digest: Digest, object: Pick<ObjectRead, 'identity' | 'verified'>): 'whole' | 'damaged' | undefined {
    const { identity } = object
    const verdict = this.#verdicts.get(digest)
    if (verdict?.identity !== identity) {
      if (!object.verified) return undefined
      this.#know(digest, identity, true)
      return 'whole'
    }
    this.#know(digest, identity, verdict.whole)
    return verdict.whole ? 'whole' : 'damaged'
  }

  /** Whether some object under this digest was damaged: then its identity has to be looked at. */
  suspects(digest: Digest): boolean {
    return this.#verdicts.get(digest)?.whole === false
  }

  /** The object was hashed on its way here. */
  published(digest: Digest, identity: string): void {
    this.#know(digest, identity, true)
  }

  /** The body of a whole object; fails with `BlobDamaged` before its last piece. */
  whole(digest: Digest, object: ObjectRead): Readable {
    return over(object.body, this.#hashed(digest, object))
  }

  /** The body of a range, which fails if the object is found damaged before it is out: it is being read through meanwhile. */
  range(digest: Digest, { body, identity }: ObjectRead): Readable {
    if (this.#waiting.size < WAITING) this.#waiting.add(digest)
    this.#running ??= this.#work()
    const demand = (): void => {
      const verdict = this.#verdicts.get(digest)
      if (verdict?.identity === identity && !verdict.whole) throw new BlobDamaged(digest)
    }
    return over(body, demanding(body, demand))
  }

  /** Reads what is stored under the digest to its end. What is damaged is set aside, and reported. */
  async readThrough(
    digest: Digest,
    { onPiece, fromDisk = false }: ReadThrough = {},
  ): Promise<'whole' | 'damaged' | 'absent'> {
    try {
      const object = await this.#driver.read(blobKey(digest))
      if (fromDisk && object.file) forgetCached(object.file.file)
      for await (const piece of this.#hashed(digest, object)) await onPiece?.(piece.length)
      return 'whole'
    } catch (error) {
      if (error instanceof BlobDamaged) return 'damaged'
      if (error instanceof ObjectNotFound) return 'absent'
      throw error
    }
  }

  /** What is being read in the background is left. */
  async close(): Promise<void> {
    this.#stop.abort()
    await this.#running
  }

  /** One after the other, until nothing waits. */
  async #work(): Promise<void> {
    const { signal } = this.#stop
    const onPiece = (bytes: number): Promise<void> => this.#pace.spend(bytes, signal)
    for (const digest of this.#waiting) {
      if (signal.aborted) break
      // What cannot be read now is asked for again by the next range.
      if (!(await this.#isKnown(digest).catch(() => true))) await this.readThrough(digest, { onPiece }).catch(() => {})
      this.#waiting.delete(digest)
    }
    this.#running = undefined
  }

  /** Another process may have been quicker. */
  async #isKnown(digest: Digest): Promise<boolean> {
    const object = await this.#driver.read(blobKey(digest))
    try {
      return this.judge(digest, object) !== undefined
    } finally {
      object.body.destroy()
    }
  }

  async *#hashed(digest: Digest, { body, identity }: ObjectRead): AsyncGenerator<Uint8Array> {
    const hash = new ResumableHash(algorithmOf(digest))
    let kept: Uint8Array | undefined
    for await (const piece of body as AsyncIterable<Uint8Array>) {
      const hashed = hash.update(piece)
      if (kept) yield kept
      await hashed
      kept = piece
    }
    const actual = formatDigest(algorithmOf(digest), hash.digestHex())
    if (actual !== digest) throw await this.#damaged(digest, identity, actual)
    this.#know(digest, identity, true)
    // Nobody waits for it, and what is not remembered is verified again.
    void this.#driver.remember(blobKey(digest), identity).catch(() => {})
    if (kept) yield kept
  }

  /** Unknown to this process at once; to all others when it is set aside, which whoever does it reports. */
  async #damaged(digest: Digest, identity: string, actual: Digest): Promise<BlobDamaged> {
    this.#know(digest, identity, false)
    try {
      const keptAt = await this.#driver.setAside(blobKey(digest), identity)
      if (keptAt !== undefined) this.#onDamage({ digest, actual, keptAt })
    } catch (cause) {
      this.#onDamage({ digest, actual, cause })
    }
    return new BlobDamaged(digest, actual)
  }

  #know(digest: Digest, identity: string, whole: boolean): void {
    this.#verdicts.delete(digest)
    this.#verdicts.set(digest, { identity, whole })
    for (const oldest of this.#verdicts.keys()) {
      if (this.#verdicts.size <= REMEMBERED) return
      this.#verdicts.delete(oldest)
    }
  }
}

/** A generator that was never begun does not know what it would have had to close. */
function over(body: Readable, pieces: AsyncIterable<Uint8Array>): Readable {
  return Readable.from(pieces, { objectMode: false }).once('close', () => body.destroy())
}

async function* demanding(body: Readable, demand: () => void): AsyncGenerator<Uint8Array> {
  for await (const piece of body as AsyncIterable<Uint8Array>) {
    demand()
    yield piece
  }
}
