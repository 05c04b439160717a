/** Locks by name, for this machine: ranges of one file, at the hash of the name. The kernel lets go of them when their holder dies. */
import { closeSync, existsSync, openSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { ResumableHash } from '../../native/hash.ts'
import { lockRange, tryLockRange } from '../../native/range-lock.ts'

export type LockMode = 'shared' | 'exclusive'

export interface HeldLock extends AsyncDisposable {
  /** Fine more than once. */
  release(): Promise<void>
}

const FIRST_WAIT_MS = 5
const LONGEST_WAIT_MS = 200

export class LockFile {
  readonly #path: string

  private constructor(path: string) {
    this.#path = path
  }

  static async open(path: string): Promise<LockFile> {
    try {
      closeSync(openSync(path, 'a', 0o600))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EROFS' || !existsSync(path)) throw error // who only looks needs no lock
    }
    return new LockFile(path)
  }

  /** Waits, at most until `signal` aborts. Holders of other processes cannot tell us, so it asks again and again; for who would be alone, in turn with others of this process. */
  async lock(name: string, mode: LockMode, signal?: AbortSignal): Promise<HeldLock> {
    if (mode === 'exclusive') return heldLock(await lockRange(this.#path, startOf(name), 1, signal))
    for (let wait = FIRST_WAIT_MS; ; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
      signal?.throwIfAborted()
      const held = await this.tryLock(name, mode)
      if (held) return held
      await sleep(wait, undefined, signal ? { signal } : {})
    }
  }

  async tryLock(name: string, mode: LockMode): Promise<HeldLock | undefined> {
    const range = tryLockRange(this.#path, { startBytes: startOf(name), lengthBytes: 1, mode })
    return range && heldLock(range)
  }
}

function heldLock(range: Disposable): HeldLock {
  const release = async (): Promise<void> => {
    range[Symbol.dispose]()
  }
  return { release, [Symbol.asyncDispose]: release }
}

/** 2^47 places: that two names share one is improbable, and would only make one wait for the other. */
function startOf(name: string): number {
  const hash = new ResumableHash('sha256')
  void hash.update(Buffer.from(name)) // it is short: done at once
  return Number.parseInt(hash.digestHex().slice(0, 12), 16) % 2 ** 47
}
