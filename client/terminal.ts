/** A person's terminal, lent to a container: raw while it runs, its size passed on, and given back as it was, whatever happens. */
import { ReadStream } from 'node:tty'
import { setTerminalSize } from '../native/runtime.ts'
import { makeTerminalRaw } from '../native/terminal.ts'

export interface LentTerminal {
  /** Waits until everything the container wrote is out. */
  readonly drained: Promise<void>
  /** Gives the terminal back. Fine more than once. */
  restore(): void
}

/** Joins the container's terminal (`master`, taken over) to this process's. Keys are passed on only if `interactive`. */
export function lendTerminal(master: number, interactive: boolean): LentTerminal {
  const { stdin, stdout } = process
  const container = new ReadStream(master)
  const drained = new Promise<void>((resolve) => container.on('close', resolve))
  container.on('error', () => {}) // EIO: the last process with the other end is gone
  const hangUp = (): void => void container.destroy() // nobody reads any more: the container's terminal is gone, as a person's would be
  stdout.on('error', hangUp)
  container.on('data', (chunk) => {
    if (stdout.write(chunk)) return
    container.pause()
    stdout.once('drain', () => container.resume())
  })

  const resize = (): void => {
    if (stdout.isTTY && !container.destroyed) setTerminalSize(master, stdout.columns, stdout.rows)
  }
  const type = (chunk: Buffer): void => void container.write(chunk)
  resize()
  process.on('SIGWINCH', resize)
  stdout.on('resize', resize)
  const giveBack = interactive && stdin.isTTY ? makeTerminalRaw(stdin.fd) : undefined
  if (interactive) stdin.on('data', type)

  let restored = false
  const restore = (): void => {
    if (restored) return
    restored = true
    process.off('exit', restore)
    process.off('SIGWINCH', resize)
    stdout.off('resize', resize)
    if (interactive) stdin.off('data', type).pause()
    giveBack?.()
    container.destroy()
  }
  process.on('exit', restore) // a person's terminal is given back also when we fail
  return { drained, restore }
}
