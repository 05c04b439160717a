/**
 * Never wrong bytes. An object whose identity is that of its last verification may be sent as it is; any other is hashed
 * while it is sent, and its last piece is kept back until the digest is known to be right. What turns out to be damaged is
 * unknown from then on, so that whoever has it pushes it again, which replaces the object.
 */
import { Readable } from 'node:stream'
import { ResumableHash } from '../native/hash.ts'
import type { ObjectRead } from './driver.ts'
import { BlobDamaged } from './errors.ts'
import { algorithmOf, type Digest, formatDigest } from './model/digest.ts'

/** So many are remembered, the least recently asked for forgotten first: some megabytes. */
const REMEMBERED = 20_000

interface Verdict {
  readonly identity: string
  readonly whole: boolean
}

export class Verification {
  readonly #verdicts = new Map<Digest, Verdict>()
  readonly #running = new Map<string, Promise<void>>()

  /** `undefined` if the object with this identity was not looked at yet. */
  judge(digest: Digest, identity: string): 'whole' | 'damaged' | undefined {
    const verdict = this.#verdicts.get(digest)
    if (verdict?.identity !== identity) return undefined
    this.pass(digest, identity, verdict.whole)
    return verdict.whole ? 'whole' : 'damaged'
  }

  /** Whether some object under this digest was damaged: then its identity has to be looked at. */
  suspects(digest: Digest): boolean {
    return this.#verdicts.get(digest)?.whole === false
  }

  /** Every byte of the object was hashed. */
  pass(digest: Digest, identity: string, whole: boolean): void {
    this.#verdicts.delete(digest)
    this.#verdicts.set(digest, { identity, whole })
    for (const oldest of this.#verdicts.keys()) {
      if (this.#verdicts.size <= REMEMBERED) return
      this.#verdicts.delete(oldest)
    }
  }

  /** The body of a whole object; fails with `BlobDamaged` before its last piece. */
  whole(digest: Digest, { body, identity }: ObjectRead): Readable {
    return over(body, this.#hashed(digest, body, identity))
  }

  /** The body of a range: `open` reads the whole object beside it, once for all ranges that are asked for meanwhile. */
  range(digest: Digest, { body, identity }: ObjectRead, open: () => Promise<ObjectRead>): Readable {
    const name = `${digest} ${identity}`
    let verdict = this.#running.get(name)
    if (!verdict) {
      verdict = this.#readThrough(digest, open).finally(() => this.#running.delete(name))
      verdict.catch(() => {}) // told to whoever waits for it
      this.#running.set(name, verdict)
    }
    return over(body, keptBack(body, verdict))
  }

  async #readThrough(digest: Digest, open: () => Promise<ObjectRead>): Promise<void> {
    const { body, identity } = await open()
    for await (const _ of this.#hashed(digest, body, identity));
  }

  async *#hashed(digest: Digest, body: Readable, identity: string): AsyncGenerator<Uint8Array> {
    const hash = new ResumableHash(algorithmOf(digest))
    let kept: Uint8Array | undefined
    for await (const piece of body as AsyncIterable<Uint8Array>) {
      const hashed = hash.update(piece)
      if (kept) yield kept
      await hashed
      kept = piece
    }
    const actual = formatDigest(algorithmOf(digest), hash.digestHex())
    this.pass(digest, identity, actual === digest)
    if (actual !== digest) throw new BlobDamaged(digest, actual)
    if (kept) yield kept
  }
}

/** A generator that was never begun does not know what it would have had to close. */
function over(body: Readable, pieces: AsyncIterable<Uint8Array>): Readable {
  return Readable.from(pieces, { objectMode: false }).once('close', () => body.destroy())
}

async function* keptBack(body: Readable, verdict: Promise<void>): AsyncGenerator<Uint8Array> {
  let kept: Uint8Array | undefined
  for await (const piece of body as AsyncIterable<Uint8Array>) {
    if (kept) yield kept
    kept = piece
  }
  await verdict
  if (kept) yield kept
}
