/** Places beside the configured one: where an old registry's tree lies, and where a backup goes. A folder, or `s3://BUCKET/PREFIX`. */
import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { StorageDriver } from '../storage/driver.ts'
import { openFsDriver } from '../storage/fs/driver.ts'
import { FolderTree } from '../storage/import/folder-tree.ts'
import type { ForeignTree } from '../storage/import/foreign-tree.ts'
import type { S3Settings } from '../storage/s3/settings.ts'
import type { Config } from './config/schema.ts'
import { CannotServe, reason } from './reasons.ts'

export interface ForeignBucket {
  readonly endpoint: string | undefined
  readonly region: string | undefined
}

/** Throws `CannotServe` if it is not there, as far as that can be told at once. */
export async function openForeignTree(place: string, bucket: ForeignBucket): Promise<ForeignTree> {
  const settings = bucketOf(place, bucket)
  if (settings) {
    const { BucketTree } = await import('../storage/s3/foreign-tree.ts')
    return new BucketTree(settings)
  }
  const folder = resolve(place)
  const isFolder = await stat(folder).then(
    (found) => found.isDirectory(),
    (cause: unknown) => {
      throw new CannotServe(`cannot read ${folder}: ${reason(cause)}`, { cause })
    },
  )
  if (!isFolder) throw new CannotServe(`cannot read ${folder}: expected a folder, or s3://BUCKET/PREFIX`)
  return new FolderTree(folder)
}

/** `undefined` for what is no `s3:` URL. */
function bucketOf(place: string, { endpoint, region }: ForeignBucket): S3Settings | undefined {
  if (!place.startsWith('s3:')) return undefined
  const [, bucket = '', prefix = ''] = /^s3:\/\/([^/]+)(?:\/(.*?))?\/*$/.exec(place) ?? []
  if (bucket === '') throw new CannotServe(`${JSON.stringify(place)} names no bucket: expected s3://BUCKET/PREFIX`)
  return {
    bucket,
    prefix: prefix === '' ? '' : `${prefix}/`,
    proxies: process.env,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
  }
}

/** Where a backup goes. A folder is made if it is not there. Throws `CannotServe`. */
export async function openBackupPlace(place: string, bucket: ForeignBucket): Promise<StorageDriver> {
  const settings = bucketOf(place, bucket)
  try {
    if (!settings) return await openFsDriver(resolve(place))
    const { openS3Driver } = await import('../storage/s3/driver.ts')
    return await openS3Driver(settings)
  } catch (cause) {
    throw new CannotServe(`cannot keep a backup in ${place}: ${reason(cause)}`, { cause })
  }
}

/** Whether a backup would go where its source is. */
export function isPlaceOf({ storage, data, s3 }: Config, place: string, { endpoint }: ForeignBucket): boolean {
  const settings = bucketOf(place, { endpoint, region: undefined })
  if (!settings) return storage === 'filesystem' && resolve(place) === resolve(data)
  const here = [s3.bucket, s3.prefix.replace(/\/$/, ''), s3.endpoint.replace(/\/$/, '')]
  const there = [settings.bucket, settings.prefix?.replace(/\/$/, ''), (endpoint ?? '').replace(/\/$/, '')]
  return storage === 's3' && here.every((part, index) => part === there[index])
}
