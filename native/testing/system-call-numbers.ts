/** Numbers of system calls that tests make by number, on this architecture. */

interface SystemCallNumbers {
  readonly getpid: number
  readonly getppid: number
  readonly personality: number
  readonly swapoff: number
}

const NUMBERS: Readonly<Record<string, SystemCallNumbers>> = {
  x64: { getpid: 39, getppid: 110, personality: 135, swapoff: 168 },
  arm64: { getpid: 172, getppid: 173, personality: 92, swapoff: 225 },
}

/** Throws where the runtime does not run at all. */
export function systemCallNumbers(): SystemCallNumbers {
  const numbers = NUMBERS[process.arch]
  if (!numbers) throw new Error(`no numbers of system calls are known for ${process.arch}`)
  return numbers
}
