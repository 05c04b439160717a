/** The stream of frames that passes through a monitor's control socket (src/monitor/frame.h has the same numbers). */
import type { Socket } from 'node:net'

export const FRAME = {
  request: 1,
  input: 2,
  inputEnd: 3,
  reply: 16,
  output: 17,
  errors: 18,
  status: 19,
  missed: 20,
} as const

const HEADER_BYTES = 5
/** More than a monitor ever sends in one. */
const LONGEST_BYTES = 1024 * 1024

/** Sends one frame; false when the socket wants its `drain` awaited. */
export function sendFrame(socket: Socket, type: number, payload: Uint8Array, sent?: (error?: Error | null) => void) {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length)
  frame.writeUInt32LE(payload.length, 0)
  frame.writeUInt8(type, 4)
  frame.set(payload, HEADER_BYTES)
  return socket.write(frame, sent)
}

export interface Frame {
  readonly type: number
  readonly payload: Buffer
}

/** Puts frames together out of what arrives. Throws at what no monitor sends. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0)

  take(chunk: Buffer): readonly Frame[] {
    const frames: Frame[] = []
    let rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    while (rest.length >= HEADER_BYTES) {
      const length = rest.readUInt32LE(0)
      if (length > LONGEST_BYTES) throw new Error(`a frame of ${length} bytes cannot be a monitor's`)
      if (rest.length < HEADER_BYTES + length) break
      frames.push({ type: rest.readUInt8(4), payload: rest.subarray(HEADER_BYTES, HEADER_BYTES + length) })
      rest = rest.subarray(HEADER_BYTES + length)
    }
    this.#rest = rest
    return frames
  }
}
