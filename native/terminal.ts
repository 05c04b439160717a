/** Raw mode as cfmakeraw(3) has it. Node's own leaves output processing on, so that a container's line ends would be doubled. */
import { loadAddon } from './addon.ts'

const native = loadAddon<{
  makeTerminalRaw(fd: number): Uint8Array
  restoreTerminal(fd: number, modes: Uint8Array): void
}>()

/** Every byte passes as it is, both ways. Call what it returns to give the terminal back; throws an error with `errno` if it is none. */
export function makeTerminalRaw(fd: number): () => void {
  const modes = native.makeTerminalRaw(fd)
  return () => native.restoreTerminal(fd, modes)
}
