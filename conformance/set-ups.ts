/** The set-ups in which the upstream suite has to find nothing: each a registry started the way a user starts it. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gantry, type ServedRegistry, startGantry } from './support/gantry-serve.ts'
import { startReverseProxy } from './support/reverse-proxy.ts'

interface SetUp extends AsyncDisposable {
  /** `127.0.0.1:<port>`: whom the suite asks. */
  readonly host: string
  readonly registry: ServedRegistry
  /** What the suite has to know beside that. */
  readonly settings?: Readonly<Record<string, string>>
  /** Throws if the set-up was not what its name says: a suite over one connection meets one worker only. */
  verify?(): Promise<void>
}

/** The suite's sparse data set pushes an image without its first layer, which only this policy takes. */
const env = { ...process.env, GANTRY_REFERENCES: 'sparse' }
const WORKERS = 3

/** By name, as in the titles of tests. `directory` is for sockets and logs, and is empty. */
export const SET_UPS: Readonly<Record<string, (directory: string) => Promise<SetUp>>> = {
  'one process': async () => {
    const registry = await startGantry({ env })
    return { host: registry.host, registry, [Symbol.asyncDispose]: () => registry[Symbol.asyncDispose]() }
  },

  'several workers behind one port': async (directory) => {
    const log = join(directory, 'access.log')
    const workers = { GANTRY_WORKERS: `${WORKERS}`, GANTRY_ACCESS_LOG: log }
    const registry = await startGantry({ env: { ...env, ...workers } })
    const setUp = await proxied(registry, { port: Number(new URL(registry.url).port) })
    const verify = async (): Promise<void> => {
      const lines = (await readFile(log, 'utf8')).trim().split('\n')
      const answered = Map.groupBy(lines, (line) => (JSON.parse(line) as { worker?: number }).worker)
      assert.equal(answered.size, WORKERS, 'each worker was asked')
    }
    return { ...setUp, verify }
  },

  'a registry with accounts, a new token for each request': (directory) =>
    withAccounts(directory, {}, { OCI_CACHE_AUTH: 'false' }),
  'a registry with accounts, tokens kept': (directory) => withAccounts(directory, {}, { OCI_CACHE_AUTH: 'true' }),
  'a registry with accounts and Basic alone': (directory) =>
    withAccounts(directory, { GANTRY_ACCOUNTS_BASIC: 'only' }, {}),

  'a unix socket behind a reverse proxy that rewrites Host': async (directory) => {
    const socketPath = join(directory, 'gantry.sock')
    return await proxied(await startGantry({ env, socketPath }), { socketPath })
  },
}

const USER = 'suite'
const PASSWORD = 'correct horse battery'

async function withAccounts(
  directory: string,
  changes: Readonly<Record<string, string>>,
  suite: Readonly<Record<string, string>>,
): Promise<SetUp> {
  const dataDirectory = join(directory, 'data')
  await gantry(['user', 'add', USER, '--password-stdin', '--data', dataDirectory], { input: PASSWORD })
  const registry = await startGantry({ dataDirectory, env: { ...env, ...changes } })
  const settings = { OCI_USERNAME: USER, OCI_PASSWORD: PASSWORD, ...suite }
  const verify = async (): Promise<void> => {
    assert.equal((await fetch(`${registry.url}/v2/`)).status, 401)
    assert.ok(!registry.log().includes(PASSWORD), 'the password is in no log')
  }
  return {
    host: registry.host,
    registry,
    settings,
    verify,
    [Symbol.asyncDispose]: () => registry[Symbol.asyncDispose](),
  }
}

async function proxied(registry: ServedRegistry, to: { socketPath: string } | { port: number }): Promise<SetUp> {
  const stack = new AsyncDisposableStack()
  stack.use(registry)
  const { host } = stack.use(await startReverseProxy(to))
  return { host, registry, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}
