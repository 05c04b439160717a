/** A real S3 server as a child process over a temporary folder: versitygw, which is quick to build, or MinIO, where they differ. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import type { S3Settings } from '../../storage/s3/settings.ts'
import { stopGroup, until } from './commands.ts'
import { freePort } from './free-port.ts'
import { installGoTool, notBuilt } from './go-tools.ts'

export type S3Kind = 'versitygw' | 'minio'

const CREDENTIALS = { accessKeyId: 'gantry-tests', secretAccessKey: 'gantry-tests-secret' }
const BUCKET = 'registry'
const START_TIMEOUT_MS = 30_000

export interface S3Server extends AsyncDisposable {
  readonly kind: S3Kind
  readonly endpoint: string
  /** Where it keeps its files. */
  readonly folder: string
  /** A store of its own in the one bucket, with what the server accepts. */
  settings(changes?: Partial<S3Settings>): S3Settings
  /** Files with parts of multipart uploads that are neither complete nor aborted: what the server itself keeps. */
  parts(): Promise<readonly string[]>
  /** For a registry that is a child process: the same as environment. */
  env(prefix: string): NodeJS.ProcessEnv
}

/** Each with the reason to leave it out. */
export async function s3Kinds(): Promise<readonly { readonly kind: S3Kind; readonly skip: string | false }[]> {
  return await Promise.all(
    (['versitygw', 'minio'] as const).map(async (kind) => ({ kind, skip: await notBuilt(kind) })),
  )
}

/** Resolves when the bucket is there. What it keeps is in a folder of its own in `place`. */
export async function startS3(
  kind: S3Kind = 'versitygw',
  env: NodeJS.ProcessEnv = process.env,
  place = tmpdir(),
): Promise<S3Server> {
  const program = await installGoTool(kind)
  const folder = await mkdtemp(join(place, `gantry-${kind}-`))
  const port = await freePort()
  const address = `127.0.0.1:${port}`
  await mkdir(join(folder, 'data'))
  const { accessKeyId, secretAccessKey } = CREDENTIALS
  const child =
    kind === 'versitygw'
      ? spawnServer(program, ['--port', address, 'posix', join(folder, 'data')], {
          ...env,
          ROOT_ACCESS_KEY: accessKeyId,
          ROOT_SECRET_KEY: secretAccessKey,
        })
      : spawnServer(program, ['server', join(folder, 'data'), '--address', address, '--quiet'], {
          ...env,
          MINIO_ROOT_USER: accessKeyId,
          MINIO_ROOT_PASSWORD: secretAccessKey,
          MINIO_BROWSER: 'off',
          HOME: folder,
        })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-8_000)
    })
  }
  const dispose = async (): Promise<void> => {
    await stopGroup(child)
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
  const endpoint = `http://${address}`
  try {
    await createBucket(endpoint, () => {
      if (child.exitCode !== null) throw new Error(`${kind} ended before it was ready: ${said}`)
    })
  } catch (error) {
    await dispose()
    throw error
  }
  return {
    kind,
    endpoint,
    folder: join(folder, 'data'),
    settings: (changes = {}) => ({ bucket: BUCKET, endpoint, credentials: CREDENTIALS, ...changes }),
    parts: () => filesBelow(join(folder, 'data', ...PARTS_FOLDER[kind])),
    env: (prefix) => ({
      GANTRY_STORAGE: 's3',
      GANTRY_S3_BUCKET: BUCKET,
      GANTRY_S3_ENDPOINT: endpoint,
      GANTRY_S3_REGION: 'us-east-1',
      GANTRY_S3_PREFIX: prefix,
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
    }),
    [Symbol.asyncDispose]: dispose,
  }
}

const PARTS_FOLDER: Readonly<Record<S3Kind, readonly string[]>> = {
  versitygw: [BUCKET, '.sgwtmp', 'multipart'],
  minio: ['.minio.sys', 'multipart'],
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

function spawnServer(program: string, args: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
  return spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
}

async function createBucket(endpoint: string, demandAlive: () => void): Promise<void> {
  const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials: CREDENTIALS })
  try {
    await until('the S3 server to make a bucket', START_TIMEOUT_MS, async () => {
      demandAlive()
      return await client.send(new CreateBucketCommand({ Bucket: BUCKET })).then(
        () => true,
        () => undefined,
      )
    })
  } finally {
    client.destroy()
  }
}
