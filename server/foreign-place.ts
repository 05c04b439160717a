/** Places beside the configured one: where an old registry's tree lies, and where a backup goes. A folder, or `s3://BUCKET/PREFIX`. */
import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { FolderTree } from '../storage/import/folder-tree.ts'
import type { ForeignTree } from '../storage/import/foreign-tree.ts'
import type { S3Settings } from '../storage/s3/settings.ts'
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
