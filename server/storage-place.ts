/** Where a registry keeps its content: the only place of the server that knows the drivers. */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { StorageDriver } from '../storage/driver.ts'
import { openFsDriver } from '../storage/fs/driver.ts'
import { probeStorage } from '../storage/probe.ts'
import type { S3Settings } from '../storage/s3/settings.ts'
import type { Config } from './config/schema.ts'
import { CannotServe, reason } from './reasons.ts'

const MIB = 2 ** 20

/** For people: `data in …`. */
export function placeOf({ storage, data, s3 }: Config): string {
  if (storage === 'filesystem') return `data in ${resolve(data)}`
  const at = s3.endpoint === '' ? '' : ` at ${s3.endpoint}`
  return `data in s3://${s3.bucket}/${folderOf(s3.prefix)}${at}`
}

/** `workers`: how many processes share the memory for uploads. Throws `StorageUnavailable`, or what opening a file throws. */
export async function openDriver(config: Config, workers: number): Promise<StorageDriver> {
  if (config.storage === 'filesystem') return await openFsDriver(resolve(config.data), config)
  const { openS3Driver } = await import('../storage/s3/driver.ts') // the SDK costs memory and time, and is not for everyone
  return await openS3Driver(await s3Settings(config, workers))
}

/** What the place can do, for people. Throws `CannotServe` if it cannot even be reached. */
export async function probe(config: Config): Promise<{ readonly lines: readonly string[]; readonly usable: boolean }> {
  try {
    return config.storage === 's3' ? await probeBucket(config) : await probeFolder(config)
  } catch (cause) {
    throw new CannotServe(`cannot keep ${placeOf(config)}: ${reason(cause)}`, { cause })
  }
}

async function probeFolder(config: Config): Promise<{ lines: readonly string[]; usable: boolean }> {
  const driver = await openFsDriver(resolve(config.data))
  try {
    await probeStorage(driver, { write: !config.readonly })
    return { lines: [placeOf(config), 'ok   the folder takes writes, and locks'], usable: true }
  } finally {
    await driver.close()
  }
}

async function probeBucket(config: Config): Promise<{ lines: readonly string[]; usable: boolean }> {
  const { probeS3 } = await import('../storage/s3/probe.ts')
  const { findings, conditionalWrites } = await probeS3(await s3Settings(config, 1))
  const usable = findings.every(({ works, needed }) => works || !needed)
  const verdict = !usable
    ? 'This bucket cannot keep a registry.'
    : conditionalWrites
      ? 'Any number of replicas may share this bucket.'
      : 'One replica alone may use this bucket, with s3.singleReplica (GANTRY_S3_SINGLE_REPLICA=true).'
  const lines = findings.map(({ what, works, says }) => `${works ? 'ok  ' : 'FAIL'} ${what}: ${says}`)
  return { lines: [placeOf(config), ...lines, verdict], usable }
}

async function s3Settings({ s3 }: Config, workers: number): Promise<S3Settings> {
  const { endpoint, addressing, certificateAuthorities, encryption, encryptionKey } = s3
  return {
    bucket: s3.bucket,
    region: s3.region,
    prefix: folderOf(s3.prefix),
    partBytes: s3.partSize - (s3.partSize % MIB),
    parallelParts: s3.parallelParts,
    memoryBytes: Math.floor(s3.memory / workers),
    timeoutMs: s3.timeout,
    singleReplica: s3.singleReplica,
    proxies: process.env,
    ...(endpoint === '' ? {} : { endpoint }),
    ...(s3.publicEndpoint === '' ? {} : { publicEndpoint: s3.publicEndpoint }),
    ...(addressing === 'auto' ? {} : { addressing }),
    ...(certificateAuthorities === ''
      ? {}
      : { certificateAuthorities: await readFile(certificateAuthorities, 'utf8') }),
    ...(encryption === 'none'
      ? {}
      : { encryption: { algorithm: encryption, ...(encryptionKey === '' ? {} : { keyId: encryptionKey }) } }),
  }
}

const folderOf = (prefix: string): string => (prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`)
