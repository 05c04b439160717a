/**
 * Writes under a condition, whose answer may get lost. After a time-out, a reset, 409 or 412 the object is read back:
 * our bytes, which carry a nonce, mean that we won, whatever the answer said.
 */
import type { Version, WriteCondition } from '../driver.ts'
import { VersionConflict } from '../errors.ts'
import type { Bucket, PutCondition } from './bucket.ts'
import { classOf, unavailable } from './failures.ts'
import { pause } from './retries.ts'

type Condition = Exclude<WriteCondition, { readonly unique: true }>

/** Also where nobody else knows the name: a first write that is late must not bring back what has been replaced since. */
const ABSENT = { ifAbsent: true } as const

export class ConditionalWrites {
  readonly #bucket: Bucket
  readonly #attempts: number
  /** Where the server does not honour conditions: whoever writes a key in this process, which is then the only one. */
  readonly #turns: Map<string, Promise<unknown>> | undefined

  constructor(bucket: Bucket, attempts: number, { honoured = true } = {}) {
    this.#bucket = bucket
    this.#attempts = attempts
    this.#turns = honoured ? undefined : new Map()
  }

  /** Throws `VersionConflict` if the condition does not hold, `StorageUnavailable` if nobody can say. */
  async write(key: string, bytes: Uint8Array, condition: WriteCondition): Promise<Version> {
    const asked = 'unique' in condition ? ABSENT : condition
    return this.#turns ? await this.#inTurn(key, bytes, asked) : await this.#conditionally(key, bytes, asked)
  }

  async #conditionally(key: string, bytes: Uint8Array, condition: Condition): Promise<Version> {
    const asked: PutCondition = 'ifAbsent' in condition ? condition : { ifEtag: condition.ifVersion }
    for (let attempt = 1; ; attempt += 1) {
      let failure: unknown
      try {
        return (await this.#bucket.putOnce(key, bytes, asked)) as Version
      } catch (error) {
        failure = error
      }
      const kind = classOf(failure)
      if (kind === 'refused' || kind === 'full' || kind === 'unsupported') throw unavailable(failure, `PUT ${key}`)
      const found = await this.#bucket.get(key)
      if (found && Buffer.compare(found.bytes, bytes) === 0) return found.etag as Version
      if (!holds(found?.etag, condition)) throw conflict(key, failure)
      // The condition holds, as far as can be seen: the request was lost, or came too early, or may yet arrive.
      if (attempt >= this.#attempts) throw unavailable(failure, `PUT ${key}`)
      await pause(attempt, kind === 'busy')
    }
  }

  async #inTurn(key: string, bytes: Uint8Array, condition: Condition): Promise<Version> {
    const turns = this.#turns as Map<string, Promise<unknown>>
    const before = turns.get(key) ?? Promise.resolve()
    const mine = before.then(async () => {
      if (!holds((await this.#bucket.head(key))?.etag, condition)) throw conflict(key)
      return (await this.#bucket.put(key, bytes)) as Version
    })
    const settled = mine.catch(() => {})
    turns.set(key, settled)
    void settled.then(() => turns.get(key) === settled && turns.delete(key))
    return await mine
  }
}

const holds = (etag: string | undefined, condition: Condition): boolean =>
  'ifAbsent' in condition ? etag === undefined : etag === condition.ifVersion

const conflict = (key: string, cause?: unknown): VersionConflict =>
  new VersionConflict(`${key} was written by somebody else`, { cause })
