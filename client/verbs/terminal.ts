/**
 * This process's terminal and standard streams, joined to a container's for as long as somebody stays: raw where the container has a terminal, its
 * size passed on, and given back as it was, whatever happens.
 */
import type { Readable, Writable } from 'node:stream'
import { makeTerminalRaw } from '../../native/terminal.ts'
import { KeyWatch } from './detach-keys.ts'

export interface ContainerStreams {
  /** None: nothing is passed on. */
  readonly stdin: Writable | undefined
  readonly stdout: Readable
  /** None where a terminal has everything in one. */
  readonly stderr: Readable | undefined
  /** What is not is only waited for. */
  readonly shown?: { readonly stdout: boolean; readonly stderr: boolean }
  /** Of one that has a terminal. */
  readonly resize?: (columns: number, rows: number) => void
}

export interface JoinedStreams {
  /**
   * Settles when the container's output has ended and is written; when the keys to leave were typed, which is `detached`; or when nobody reads
   * what was written any more, which is `unread`.
   */
  readonly left: Promise<'ended' | 'detached' | 'unread'>
  /** Gives the terminal back. Fine more than once. */
  restore(): void
}

/** `detachKeys`: of one with a terminal, parsed. */
export function joinStreams(streams: ContainerStreams, detachKeys: Buffer): JoinedStreams {
  const { stdout } = process
  const early = Promise.withResolvers<'detached' | 'unread'>()
  const whenUnread = (): void => early.resolve('unread')
  const { shown = { stdout: true, stderr: true } } = streams
  const outputs = [
    shown.stdout ? passOn(streams.stdout, stdout, streams.resize ? undefined : whenUnread) : over(streams.stdout),
    ...(streams.stderr
      ? [shown.stderr ? passOn(streams.stderr, process.stderr, whenUnread) : over(streams.stderr)]
      : []),
  ]
  const ended = Promise.all(outputs).then(() => 'ended' as const)

  const resize = (): void => {
    if (stdout.isTTY && stdout.columns > 0) streams.resize?.(stdout.columns, stdout.rows)
  }
  if (streams.resize) {
    resize()
    process.on('SIGWINCH', resize)
    stdout.on('resize', resize)
  }
  const input = streams.stdin
  const isRaw = input !== undefined && streams.resize !== undefined && process.stdin.isTTY
  const giveBack = isRaw ? makeTerminalRaw(process.stdin.fd) : undefined
  const keys = new KeyWatch(isRaw ? detachKeys : Buffer.alloc(0))
  const type = (chunk: Buffer): void => {
    const { pass, complete } = keys.take(chunk)
    if (pass.length > 0 && input?.write(pass) === false) {
      process.stdin.pause()
      input.once('drain', () => process.stdin.resume())
    }
    if (complete) early.resolve('detached')
  }
  const end = (): void => void input?.end()
  if (input) {
    const { stdin } = process
    input.on('error', () => stdin.pause()) // it reads no more; how it ends is told elsewhere
    stdin.on('data', type).on('end', end).on('error', end)
  }

  let restored = false
  const restore = (): void => {
    if (restored) return
    restored = true
    process.off('exit', restore)
    process.off('SIGWINCH', resize)
    stdout.off('resize', resize)
    if (input) {
      const { stdin } = process
      stdin.off('data', type).off('end', end).off('error', end).pause()
      stdin.unref?.() // a read of a terminal that is under way would keep us here until the next key
    }
    giveBack?.()
  }
  process.on('exit', restore) // a person's terminal is given back also when we fail
  return { left: Promise.race([ended, early.promise]), restore }
}

function over(from: Readable): Promise<void> {
  return new Promise((resolve) => {
    from.on('error', () => {}) // as below
    from.on('close', () => resolve())
    from.on('end', () => resolve())
    from.resume()
  })
}

/** Resolves when everything is out. What cannot be written is dropped. A terminal, which has no `whenUnread`, hangs up then, as a person's would. */
function passOn(from: Readable, to: NodeJS.WriteStream, whenUnread?: () => void): Promise<void> {
  return new Promise((resolve) => {
    let gone = false
    to.on('error', ({ code }: NodeJS.ErrnoException) => {
      gone = true
      if (whenUnread === undefined) from.destroy()
      else from.resume()
      if (code === 'EPIPE') whenUnread?.()
    })
    from.on('data', (chunk: Buffer) => {
      if (gone || to.write(chunk)) return
      from.pause()
      to.once('drain', () => from.resume())
    })
    from.on('error', () => {}) // EIO: the last process with the other end is gone
    from.on('close', () => resolve())
    from.on('end', () => resolve())
  })
}
