/**
 * The small objects that were read last. A file is read each time, by whoever wrote it meanwhile; only if its bytes are those of the
 * last time it is the same object as then, with all that was worked out of it. So nothing here can be stale, and nothing need be told.
 */
import { hash } from 'node:crypto'
import type { SmallObject, Version } from '../driver.ts'

/** Two generations of so many bytes are kept. */
const KEPT_BYTES = 8 * 1024 * 1024
/** What an entry costs besides its bytes, about. */
const ENTRY_BYTES = 512

export class RecentObjects {
  #young = new Map<string, FileObject>()
  #old = new Map<string, FileObject>()
  #youngBytes = 0

  get(path: string): FileObject | undefined {
    const young = this.#young.get(path)
    if (young) return young
    const old = this.#old.get(path)
    if (old) this.set(path, old)
    return old
  }

  /** What was not asked for during a whole generation is forgotten. */
  set(path: string, object: FileObject): void {
    this.#youngBytes += object.bytes.length + ENTRY_BYTES
    if (this.#youngBytes > KEPT_BYTES) {
      this.#old = this.#young
      this.#young = new Map()
      this.#youngBytes = object.bytes.length + ENTRY_BYTES
    }
    this.#young.set(path, object)
  }
}

export class FileObject implements SmallObject {
  readonly bytes: Uint8Array
  #version: Version | undefined

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  /** Only writers ask for it. */
  get version(): Version {
    this.#version ??= versionOf(this.bytes)
    return this.#version
  }
}

/** Each record carries a nonce, so equal bytes are the same write. */
export const versionOf = (bytes: Uint8Array): Version => hash('sha256', bytes, 'base64url') as Version
