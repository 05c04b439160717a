/** What every file of this suite stands on: a folder of its own, a registry started as a user starts it, and nothing left behind. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before } from 'node:test'
import { type CommandOptions, type Finished, run, succeed, until } from '../support/commands.ts'
import { type ServedRegistry, startGantry } from '../support/gantry-serve.ts'
import { Workspace } from '../support/workspace.ts'

export interface Stage {
  readonly workspace: Workspace
  readonly registry: ServedRegistry
  /** Runs to the end in the workspace's environment, whatever the exit code. */
  run(program: string, args: readonly string[], options?: CommandOptions): Promise<Finished>
  /** The same for what has to succeed; resolves to the standard output. Throws with what it and the registry said. */
  succeed(program: string, args: readonly string[], options?: CommandOptions): Promise<string>
  /** What the registry said and its last answers: for the messages of failures. */
  said(): Promise<string>
  /** The requests to `name` so far, once there is one that `last` holds of: a line is written when the answer is out. */
  requests(name: string, last: (line: AccessLine) => boolean): Promise<readonly AccessLine[]>
}

/** What the access log says of a request. */
interface AccessLine {
  readonly method: string
  readonly path: string
  readonly status: number
}

const LOG_TIMEOUT_MS = 10_000
const SHOWN_LINES = 30

/** Inside `describe`: opens before its tests and closes after them. Resources added to the stack go first. */
export function openStage(): Stage & { readonly cleanup: AsyncDisposableStack } {
  const cleanup = new AsyncDisposableStack()
  let workspace: Workspace | undefined
  let registry: ServedRegistry | undefined
  const stage = {
    cleanup,
    get workspace(): Workspace {
      return workspace ?? assert.fail('the stage is not open')
    },
    get registry(): ServedRegistry {
      return registry ?? assert.fail('the stage is not open')
    },
    run: (program: string, args: readonly string[], options: CommandOptions = {}): Promise<Finished> =>
      run(program, args, { env: stage.workspace.env, ...options }),
    succeed: async (program: string, args: readonly string[], options: CommandOptions = {}): Promise<string> => {
      try {
        return await succeed(program, args, { env: stage.workspace.env, ...options })
      } catch (cause) {
        throw new Error(`${(cause as Error).message}\n${await stage.said()}`, { cause })
      }
    },
    said: async (): Promise<string> =>
      ['--- registry ---', stage.registry.log(), ...(await accessLines()).slice(-SHOWN_LINES)].join('\n'),
    requests: (name: string, last: (line: AccessLine) => boolean): Promise<readonly AccessLine[]> =>
      until(`the expected request to ${name} in the access log`, LOG_TIMEOUT_MS, async () => {
        const lines = (await accessLines()).map((line) => JSON.parse(line) as AccessLine)
        const ours = lines.filter(({ path }) => path.startsWith(`/v2/${name}/`))
        return ours.some(last) ? ours : undefined
      }),
  }
  const accessLog = (): string => stage.workspace.path('access.log')
  const accessLines = async (): Promise<string[]> => (await readFile(accessLog(), 'utf8')).split('\n').slice(0, -1) // what follows the last end of line is not complete
  before(async () => {
    workspace = await Workspace.open()
    registry = await startGantry({ env: { ...workspace.env, GANTRY_ACCESS_LOG: accessLog() } })
  })
  after(async () => {
    await cleanup.disposeAsync()
    await registry?.[Symbol.asyncDispose]()
    const left = (await workspace?.leftovers()) ?? []
    await workspace?.[Symbol.asyncDispose]()
    assert.deepEqual(left, [])
  })
  return stage
}
