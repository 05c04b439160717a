/**
 * Names that nobody else has, and cannot guess. From the kernel: to load `node:crypto` takes five milliseconds, a tenth of what a command
 * about a container has.
 */
import { closeSync, openSync, readSync } from 'node:fs'

/** `bytes` of them, in lower-case hex. */
export function randomHex(bytes: number): string {
  const random = Buffer.allocUnsafe(bytes)
  const source = openSync('/dev/urandom', 'r')
  try {
    for (let at = 0; at < bytes; ) at += readSync(source, random, at, bytes - at, null)
  } finally {
    closeSync(source)
  }
  return random.toString('hex')
}

const UNIQUE_BYTES = 16

/** For files that are renamed, or removed again. */
export const uniqueName = (): string => randomHex(UNIQUE_BYTES)
