/** The other end of runtime-timer.cc: commands go in, what each took comes out. */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'

type Command = readonly string[]

export interface Taken {
  readonly ms: number
  /** Of the largest process that the command was, or waited for. */
  readonly peakKb: number
}

export class CommandFailed extends Error {
  override readonly name = 'CommandFailed'
}

const NANOSECONDS = 1e6

export class Timer implements Disposable {
  readonly #process: ChildProcessByStdio<Writable, Readable, null>
  readonly #lines: AsyncIterator<string>
  readonly #errors: string

  /** `errors`: the file that takes what the last command said. */
  constructor(executable: string, errors: string) {
    this.#process = spawn(executable, [errors], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#process.stdin.on('error', () => {}) // the answer that is missing then says it
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]()
    this.#errors = errors
  }

  /** Runs it to its end. Throws CommandFailed. */
  async run(command: Command): Promise<Taken> {
    this.#write(command)
    return await this.#answer(command)
  }

  /** Waits for what others have left; of no interest is how it ended. */
  async reap(): Promise<void> {
    this.#write(['wait'])
    await this.#lines.next()
  }

  /** Starts all of them at once; from the first start to the last end. */
  async together(commands: readonly Command[]): Promise<Taken> {
    for (const command of commands) this.#write(['&', ...command])
    this.#write(['wait'])
    return await this.#answer(commands[0] ?? [])
  }

  [Symbol.dispose](): void {
    this.#process.stdin.end()
  }

  #write(words: Command): void {
    this.#process.stdin.write(`${words.join('\0')}\0\0`)
  }

  async #answer(command: Command): Promise<Taken> {
    const { value = '' } = await this.#lines.next()
    const [nanoseconds = 0, status = 1, peakKb = 0] = String(value).split(' ').map(Number)
    if (status !== 0) {
      const said = await readFile(this.#errors, 'utf8').catch(() => '')
      throw new CommandFailed(`${command.join(' ')} exited with ${status}: ${said.trim()}`)
    }
    return { ms: nanoseconds / NANOSECONDS, peakKb }
  }
}
