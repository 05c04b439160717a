/** All that is stored and lasts, blobs, manifests and records, in the order of their keys, from anywhere on. */
import type { Key, StorageDriver } from './driver.ts'
import {
  ACCOUNTS_PREFIX,
  BLOBS_PREFIX,
  CATALOG_PREFIX,
  digestOfBlob,
  digestOfManifest,
  keyIn,
  LINKS_PREFIX,
  manifestsPrefix,
  REPOSITORIES_PREFIX,
  repositoryOfEntry,
  SIGNING_KEYS_PREFIX,
  tagsPrefix,
} from './layout.ts'
import type { Digest } from './model/digest.ts'
import type { RepositoryName } from './model/reference.ts'

export type Content =
  | { readonly kind: 'blob'; readonly key: Key; readonly digest: Digest }
  | { readonly kind: 'record'; readonly key: Key }
  | { readonly kind: 'manifest'; readonly key: Key; readonly digest: Digest; readonly repository: RepositoryName }

/** `after` is the key of the last one that the caller has had. Names that are none of ours are passed over. Upload sessions do not last. */
export async function* walkContent(driver: StorageDriver, after = ''): AsyncGenerator<Content> {
  yield* records(walk(driver, ACCOUNTS_PREFIX, after))
  for await (const key of walk(driver, BLOBS_PREFIX, after)) {
    const digest = digestOfBlob(key)
    if (digest) yield { kind: 'blob', key, digest }
  }
  for (const prefix of [CATALOG_PREFIX, SIGNING_KEYS_PREFIX, LINKS_PREFIX]) yield* records(walk(driver, prefix, after))
  const passed = after.startsWith(REPOSITORIES_PREFIX)
    ? (after.slice(REPOSITORIES_PREFIX.length).split('/')[0] ?? '')
    : ''
  for await (const entry of driver.list(REPOSITORIES_PREFIX, passed === '' ? {} : { after: passed })) {
    const repository = repositoryOfEntry(entry.replace(/\/$/, ''))
    for await (const key of walk(driver, manifestsPrefix(repository), after)) {
      const digest = digestOfManifest(key)
      if (digest) yield { kind: 'manifest', key, digest, repository }
    }
    yield* records(walk(driver, tagsPrefix(repository), after))
  }
}

async function* records(keys: AsyncIterable<Key>): AsyncGenerator<Content> {
  for await (const key of keys) yield { kind: 'record', key }
}

/** All keys below `prefix` that sort after `after`. */
async function* walk(driver: StorageDriver, prefix: string, after: string): AsyncGenerator<Key> {
  const isWithin = after.startsWith(prefix)
  if (after >= prefix && !isWithin) return
  const [next = '', ...deeper] = isWithin ? after.slice(prefix.length).split('/') : []
  for await (const entry of driver.list(prefix, next === '' ? {} : { after: next })) {
    if (!entry.endsWith('/')) yield keyIn(prefix, entry)
    else yield* walk(driver, prefix + entry, deeper.length > 0 && entry === `${next}/` ? after : '')
  }
}
