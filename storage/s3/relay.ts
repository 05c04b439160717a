/**
 * Data objects, one after the other, from the bucket's connections into a client's socket by the kernel: the same promises
 * as `body.ts`, and none of the bytes passes through this process. Each answer's connection is taken from Node, and given back if the answer
 * was relayed to its end and nothing came behind it; else it is closed.
 */
import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { type RelayEnd, relaySocket, type SocketRelay } from '../../native/socket-relay.ts'
import { giveBack, handleOf, takeBody } from '../../native/taken-answer.ts'
import type { Relay, Transfer } from '../driver.ts'
import type { Bucket, OpenObject } from './bucket.ts'
import { openStretch, type Stretch, takenUp } from './stretches.ts'

/** With less than this, a connection that can be used again is worth more. */
const WORTH_BYTES = 1024 * 1024

/** `undefined` where `opened`, which the first bytes come from, cannot be taken from Node, or is not worth it. `stop` ends it. */
export function relayOf(
  bucket: Bucket,
  stretches: readonly Stretch[],
  opened: OpenObject | undefined,
  stop: AbortController,
): Relay | undefined {
  const lengthBytes = stretches.reduce((total, { range }) => total + range.end + 1 - range.start, 0)
  if (!opened || lengthBytes < WORTH_BYTES || !handleOf(opened.body)) return undefined
  return { lengthBytes, into: (socket) => new Relaying(bucket, stretches, opened, stop, socket) }
}

class Relaying implements Transfer {
  readonly done: Promise<number>
  readonly #bucket: Bucket
  readonly #stop: AbortController
  readonly #socket: () => number
  #sentBefore = 0
  #current: SocketRelay | undefined

  constructor(
    bucket: Bucket,
    stretches: readonly Stretch[],
    opened: OpenObject,
    stop: AbortController,
    socket: () => number,
  ) {
    this.#bucket = bucket
    this.#stop = stop
    this.#socket = socket
    this.done = this.#run(stretches, opened)
  }

  sentBytes(): number {
    return this.#sentBefore + (this.#current?.sentBytes() ?? 0)
  }

  cancel(): void {
    this.#stop.abort(Object.assign(new Error('relay: ECANCELED'), { code: 'ECANCELED' }))
    this.#current?.cancel()
  }

  async #run(stretches: readonly Stretch[], first: OpenObject): Promise<number> {
    let opened: OpenObject | undefined = first
    for (const stretch of stretches) {
      await this.#stretch(stretch, opened)
      opened = undefined
    }
    return this.#sentBefore
  }

  async #stretch(stretch: Stretch, opened: OpenObject | undefined): Promise<void> {
    const { signal } = this.#stop
    const { start, end } = stretch.range
    let [position, breaks] = [start, 0]
    let current = opened ?? (await openStretch(this.#bucket, stretch, start, signal))
    try {
      for (;;) {
        const { sentBytes, error } = await this.#send(current.body, end + 1 - position)
        position += sentBytes
        if (position > end) return
        if (error?.step === 'write a socket') throw error
        signal.throwIfAborted()
        current.body.destroy()
        breaks = sentBytes > 0 ? 1 : breaks + 1
        current = await takenUp(this.#bucket, stretch, position, { breaks, cause: error }, signal)
      }
    } finally {
      current.body.destroy()
    }
  }

  /** What comes of one answer. `body` is over afterwards, if its connection was given back; if not, it is to be destroyed. */
  async #send(body: Readable, wantedBytes: number): Promise<RelayEnd> {
    const handle = handleOf(body)
    // Over already, because it is small: all of it is here. Anything else ends as an answer that broke off.
    const message = body as IncomingMessage
    const leftBytes = handle ? takeBody(message, handle) : 0
    const arrived = message.read() as Uint8Array | null
    const pieces = arrived ? [arrived.subarray(0, wantedBytes)] : []
    const here = pieces[0]?.length ?? 0
    const lengthBytes = Math.max(0, Math.min(leftBytes, wantedBytes) - here)
    this.#stop.signal.throwIfAborted()
    const to = this.#socket()
    const relay = relaySocket({ from: handle?.fd ?? to, to, pieces, lengthBytes })
    this.#current = relay
    let before = -1
    const watch = setInterval(() => {
      const sent = relay.sentBytes()
      if (sent === before && relay.isStarved()) relay.cancel() // as an answer that broke off
      before = sent
    }, this.#bucket.timeoutMs)
    try {
      const end = await relay.done
      this.#sentBefore += end.sentBytes
      const over = handle && end.silent && here + lengthBytes === leftBytes
      if (over && !this.#stop.signal.aborted) await giveBack(message, handle, lengthBytes)
      return end
    } finally {
      this.#current = undefined
      clearInterval(watch)
    }
  }
}
