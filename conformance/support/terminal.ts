/** A command in a real pseudo-terminal, which Node has not got: what it shows, what is typed into it, its size. */
import { fileURLToPath } from 'node:url'
import { closed, killGroup, startGroup, until } from './commands.ts'

const SCREEN = fileURLToPath(new URL('./terminal.py', import.meta.url))
const EXPECT_TIMEOUT_MS = 30_000
const SHOWS_TIMEOUT_MS = 500

export class Terminal implements AsyncDisposable {
  /** The command's exit status as a shell reports it. */
  readonly exited: Promise<number>
  readonly #child
  #shown = ''
  #read = 0

  constructor(
    command: readonly string[],
    options: { readonly columns: number; readonly rows: number; readonly env: NodeJS.ProcessEnv },
  ) {
    this.#child = startGroup('python3', [SCREEN, `${options.columns}`, `${options.rows}`, ...command], {
      env: options.env,
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#child.stdin?.on('error', () => {}) // its end is seen at `exited`
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#shown += text
    })
    this.exited = closed(this.#child)
    this.exited.catch(() => {}) // whoever awaits it gets the rejection
  }

  type(text: string): void {
    this.#order({ type: text })
  }

  resize(columns: number, rows: number): void {
    this.#order({ resize: [columns, rows] })
  }

  /** Waits for this on the screen, after what earlier calls have seen; returns the match. */
  async expect(pattern: RegExp): Promise<RegExpExecArray> {
    return await until(`${pattern} on the screen`, EXPECT_TIMEOUT_MS, () => this.#take(pattern)).catch(
      (cause: unknown) => {
        throw new Error(`${pattern} did not appear; the screen shows:\n${this.#shown.slice(this.#read)}`, { cause })
      },
    )
  }

  /** Whether this is on the screen before long, after what earlier calls have seen. */
  async shows(pattern: RegExp): Promise<boolean> {
    const found = until(`${pattern} on the screen`, SHOWS_TIMEOUT_MS, () => this.#take(pattern))
    return await found.then(
      () => true,
      () => false,
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    killGroup(this.#child, 'SIGKILL')
    await this.exited.catch(() => {})
  }

  #take(pattern: RegExp): RegExpExecArray | undefined {
    const found = pattern.exec(this.#shown.slice(this.#read)) ?? undefined
    if (found !== undefined) this.#read += found.index + found[0].length
    return found
  }

  #order(order: object): void {
    this.#child.stdin?.write(`${JSON.stringify(order)}\n`)
  }
}
