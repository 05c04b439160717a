/** The registry that most people come from: docker-registry 2.8 of Debian, or distribution v3, as a child process on loopback. */
import type { ChildProcess } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { startGroup, stopGroup, until } from './commands.ts'
import { freePort } from './free-port.ts'

const READY_TIMEOUT_MS = 20_000

export interface Distribution extends AsyncDisposable {
  /** `127.0.0.1:<port>` */
  readonly host: string
  readonly child: ChildProcess
}

/** `folder` is made; without another storage driver, its subfolder `data` is the rootdirectory. Resolves when it answers. */
export async function startDistribution(
  executable: string,
  folder: string,
  storage: Readonly<Record<string, object>> = {},
): Promise<Distribution> {
  const host = `127.0.0.1:${await freePort()}`
  await mkdir(folder, { recursive: true })
  const config = {
    version: '0.1',
    log: { level: 'warn', accesslog: { disabled: false } },
    storage: {
      ...('s3' in storage ? {} : { filesystem: { rootdirectory: join(folder, 'data') } }),
      delete: { enabled: true },
      ...storage,
    },
    http: { addr: host },
  }
  await writeFile(join(folder, 'config.yml'), JSON.stringify(config)) // JSON is YAML
  const child = startGroup(executable, ['serve', join(folder, 'config.yml')], { stdio: 'ignore' })
  try {
    await until(`${executable} to listen`, READY_TIMEOUT_MS, () => answers(host, child))
  } catch (error) {
    await stopGroup(child)
    throw error
  }
  return { host, child, [Symbol.asyncDispose]: () => stopGroup(child) }
}

async function answers(host: string, child: ChildProcess): Promise<true | undefined> {
  if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode} before it listened`)
  return await fetch(`http://${host}/v2/`).then(
    async (response) => {
      await response.arrayBuffer()
      return true as const
    },
    () => undefined,
  )
}
