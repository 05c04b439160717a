/** Programs that keep credentials for docker: `docker-credential-NAME get|store|erase`, which speak JSON on their standard input and output. */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'

/** Somebody may have to unlock a key ring. */
const TIMEOUT_MS = 120_000
const NOT_FOUND = /credentials not found/

export interface KeptCredential {
  readonly username: string
  readonly secret: string
}

type Environment = Readonly<Record<string, string | undefined>>

/** `undefined` if it knows nothing of this registry. Throws if there is no such helper, or it fails. */
export async function askHelper(
  helper: string,
  registry: string,
  environment: Environment,
): Promise<KeptCredential | undefined> {
  const { status, output } = await run(helper, 'get', registry, environment)
  if (status !== 0) {
    if (NOT_FOUND.test(output)) return undefined
    throw new Error(
      `the credential helper docker-credential-${helper} failed for ${registry}: ${output.trim() || `exit status ${status}`}`,
    )
  }
  const { Username, Secret } = (parsed(output) ?? {}) as { Username?: unknown; Secret?: unknown }
  if (typeof Username !== 'string' || typeof Secret !== 'string')
    throw new Error(
      `the credential helper docker-credential-${helper} answered for ${registry} with what is no credential`,
    )
  return Username === '' && Secret === '' ? undefined : { username: Username, secret: Secret }
}

export async function storeWithHelper(
  helper: string,
  registry: string,
  { username, secret }: KeptCredential,
  environment: Environment,
): Promise<void> {
  const entry = JSON.stringify({ ServerURL: registry, Username: username, Secret: secret })
  const { status, output } = await run(helper, 'store', entry, environment)
  if (status !== 0)
    throw new Error(`the credential helper docker-credential-${helper} did not keep it: ${output.trim()}`)
}

/** Fine if it knows nothing. */
export async function eraseWithHelper(helper: string, registry: string, environment: Environment): Promise<void> {
  const { status, output } = await run(helper, 'erase', registry, environment)
  if (status !== 0 && !NOT_FOUND.test(output))
    throw new Error(`the credential helper docker-credential-${helper} did not forget it: ${output.trim()}`)
}

async function run(
  helper: string,
  verb: string,
  input: string,
  environment: Environment,
): Promise<{ readonly status: number | null; readonly output: string }> {
  if (!/^[A-Za-z0-9_.-]+$/.test(helper)) throw new Error(`${JSON.stringify(helper)} is no name of a credential helper`)
  const child = spawn(`docker-credential-${helper}`, [verb], {
    env: environment,
    stdio: ['pipe', 'pipe', 'inherit'],
    signal: AbortSignal.timeout(TIMEOUT_MS),
  })
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', (cause: NodeJS.ErrnoException) => {
      const reason =
        cause.code === 'ENOENT' ? 'it is not on the PATH; install it, or take it out of config.json' : cause.message
      reject(new Error(`the credential helper docker-credential-${helper} cannot be run: ${reason}`, { cause }))
    })
    child.once('close', resolve)
  })
  child.stdin.on('error', () => {}) // it need not read what it is told
  child.stdin.end(input)
  const [status, output] = await Promise.all([ended, text(child.stdout)])
  return { status, output }
}

function parsed(output: string): unknown {
  try {
    return JSON.parse(output)
  } catch {
    return undefined // said by the caller
  }
}
