/** Sources of bytes that behave as networks do. */
import type { Block } from '../driver.ts'

export const bytesOf = (text: string): Uint8Array => Buffer.from(text)

/** Yields each piece, then ends, or breaks with `failure`. */
export async function* pieces(parts: readonly Uint8Array[], failure?: Error): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield part
  if (failure) throw failure
}

/** The same, as a driver takes it. */
export async function* blocks(texts: readonly string[], failure?: Error): AsyncGenerator<Block> {
  for (const text of texts) yield [bytesOf(text)]
  if (failure) throw failure
}

/** Yields what it was given, then nothing, for ever: a connection that is open on one side only. */
export async function* halfOpen(parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield part
  await new Promise(() => {})
}
