/** The body of an answer, taken with limits: so many bytes, and not slower than anybody who means it would send them. */
import { RegistryMisbehaves } from './refusals.ts'

export interface Patience {
  /** Without a byte. */
  readonly idleMs: number
  /** For a whole small answer: a manifest, a token, a list, an error. */
  readonly smallAnswerMs: number
  /** Within such a time… */
  readonly windowMs: number
  /** …so many bytes of a blob have to come, or it is a slow drip that holds us for ever. */
  readonly windowBytes: number
}

export const DEFAULT_PATIENCE: Patience = {
  idleMs: 60_000,
  smallAnswerMs: 60_000,
  windowMs: 60_000,
  windowBytes: 16 * 1024,
}

export type Body = AsyncIterable<Uint8Array> & { destroy(error?: Error): unknown }

/** Throws `RegistryMisbehaves` if the body goes on beyond `limitBytes`, or is not whole when time is up. */
export async function readCapped(
  body: Body,
  limitBytes: number,
  patience: Patience = DEFAULT_PATIENCE,
): Promise<Buffer> {
  const late = new RegistryMisbehaves(`an answer that was not whole after ${patience.smallAnswerMs / 1000} seconds`)
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    body.destroy(late)
  }, patience.smallAnswerMs)
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    for await (const chunk of body) {
      length += chunk.length
      if (length > limitBytes) throw new RegistryMisbehaves(`an answer of more than ${limitBytes} bytes`) // leaving the loop closes the body
      chunks.push(chunk)
    }
  } catch (error) {
    throw isLate ? late : error
  } finally {
    clearTimeout(timer)
  }
  return Buffer.concat(chunks)
}

/** Passes a large body on; throws `RegistryMisbehaves` where less comes than `patience` allows. */
export async function* atLeastAsFast(body: Body, patience: Patience): AsyncGenerator<Uint8Array> {
  let inWindow = 0
  let waiting = true
  let slow: RegistryMisbehaves | undefined
  // The consumer's own slowness is not the server's: a window counts only while it is the server that we wait for.
  const timer = setInterval(() => {
    if (waiting && inWindow < patience.windowBytes) {
      slow = new RegistryMisbehaves(
        `a body that brings less than ${patience.windowBytes} bytes in ${patience.windowMs / 1000} seconds`,
      )
      body.destroy(slow)
    }
    inWindow = 0
  }, patience.windowMs)
  try {
    for await (const chunk of body) {
      inWindow += chunk.length
      waiting = false
      yield chunk
      waiting = true
    }
  } catch (error) {
    throw slow ?? error
  } finally {
    clearInterval(timer)
  }
}
