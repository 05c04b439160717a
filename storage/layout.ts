/**
 * The stored tree, the same for every driver; every key is made here. `<repo>` is the repository's name with `/` as `!`,
 * which sorts below every legal character and keeps a listing one level deep and ordered. `<n>` is a nonce.
 * **R**: a record, changed only by create-if-absent and compare-and-swap, never deleted.
 * **U**: a unique name, used once, safe to delete.
 *
 *     gantry.json                                           R  format and id of the store
 *     probe.json                                            R  rewritten by whoever asks whether storage works
 *     blobs/<alg>/<hh>/<hex>                                   disk: the bytes of a blob; S3, R: a line that names its data, or a line and the bytes
 *     data/<hh>/<uuid>!<n>                                  U  S3: the bytes that an upload session brought; the uuid is the session's
 *     links/<alg>/<hh>/<hex>/<repo>                         R  this repository may serve this blob; by digest first, so that "who has it?" is one listing
 *     catalog/<repo>                                        R  made with the first manifest, stays when all go; deleting a repository is a state of it
 *     deleted/<repo>                                        R  was deleted once: a listing of the catalog has to look at its record
 *     r/<repo>/manifests/<alg>-<hex>                        R  header and the exact bytes
 *     r/<repo>/tags/<tag>                                   R  where it points, its last moves
 *     r/<repo>/taglist/<tag>!<n>                            U  empty; what a tag listing reads
 *     r/<repo>/tagsof/<alg>-<hex>/<tag>!<n>                 U  empty; the tags of one digest
 *     r/<repo>/referrers/<alg>-<hex>/<type16>!<alg>-<hex>!<n>  U  empty; `type16` hashes artifactType, so that a filter is a prefix
 *     quarantine/<alg>/<hex>!<n>                            U  disk: a damaged blob, set aside
 *     verification/<kind>                                   R  how far a pass over everything has come
 *     sessions/<uuid>/state                                 R  an upload session
 *     sessions/<uuid>/data                                     disk: its staged bytes
 *     sessions/<uuid>/target                                U  S3: the key under which its data is about to be published
 *     accounts/<name>                                       R  who may log in; `!` before a robot's name
 *     keys/<kid>                                            R  a key that signs tokens
 */
import { createHash, randomBytes } from 'node:crypto'
import type { Key } from './driver.ts'
import {
  algorithmOf,
  type Digest,
  type DigestAlgorithm,
  type ForeignDigest,
  formatDigest,
  hexOf,
  parseDigest,
} from './model/digest.ts'
import type { RepositoryName, Tag } from './model/reference.ts'

const key = (text: string): Key => text as Key
const folded = (name: RepositoryName): string => name.replaceAll('/', '!')
const dashed = (digest: Digest | ForeignDigest): string => digest.replace(':', '-')
const spread = (digest: Digest): string => `${algorithmOf(digest)}/${hexOf(digest).slice(0, 2)}/${hexOf(digest)}`

function digestOrNone(text: string): Digest | undefined {
  try {
    return parseDigest(text)
  } catch {
    return undefined
  }
}

/** 96 random bits: never made twice. */
export const newNonce = (): string => randomBytes(12).toString('hex')

export const FORMAT_KEY = key('gantry.json')
export const PROBE_KEY = key('probe.json')
export const passKey = (kind: 'demand' | 'background'): Key => key(`verification/${kind}`)
export const BLOBS_PREFIX = 'blobs/'
export const blobKey = (digest: Digest): Key => key(`blobs/${spread(digest)}`)
/** Of a key below `blobs/`; `undefined` for what is no blob's. */
export const digestOfBlob = (blob: Key): Digest | undefined => {
  const [, algorithm = '', , hex = ''] = blob.split('/')
  return digestOrNone(`${algorithm}:${hex}`)
}
/** Where a damaged object goes: below no prefix that anything is looked up in. */
export const quarantineKey = (damaged: Key, nonce: string): Key =>
  key(`quarantine/${damaged.split('/').slice(1).join('/')}!${nonce}`)
export const LINKS_PREFIX = 'links/'
export const linksPrefix = (digest: Digest): string => `${LINKS_PREFIX}${spread(digest)}/`
/** One level of folders, then one folder for each digest. */
export const linkedPrefix = (algorithm: DigestAlgorithm): string => `${LINKS_PREFIX}${algorithm}/`
export const linkedDigest = (algorithm: DigestAlgorithm, entry: string): Digest =>
  formatDigest(algorithm, entry.replace('/', ''))
export const linkKey = (digest: Digest, name: RepositoryName): Key => key(linksPrefix(digest) + folded(name))

export const CATALOG_PREFIX = 'catalog/'
export const catalogKey = (name: RepositoryName): Key => key(CATALOG_PREFIX + folded(name))
export const DELETED_PREFIX = 'deleted/'
export const deletedKey = (name: RepositoryName): Key => key(DELETED_PREFIX + folded(name))
/** `after` for a listing of the catalog: beyond the repository `last`, which need not exist. */
export const afterRepository = (last: string): string => last.replaceAll('/', '!')
export const repositoryOfEntry = (entry: string): RepositoryName => entry.replaceAll('!', '/') as RepositoryName

export const REPOSITORIES_PREFIX = 'r/'
export const manifestsPrefix = (name: RepositoryName): string => `${REPOSITORIES_PREFIX}${folded(name)}/manifests/`
/** Of a key below that, or of its last part; `undefined` for what is no manifest's. */
export const digestOfManifest = (manifest: string): Digest | undefined =>
  digestOrNone(manifest.slice(manifest.lastIndexOf('/') + 1).replace('-', ':'))
export const manifestKey = (name: RepositoryName, digest: Digest): Key => key(manifestsPrefix(name) + dashed(digest))
export const tagsPrefix = (name: RepositoryName): string => `${REPOSITORIES_PREFIX}${folded(name)}/tags/`
export const tagKey = (name: RepositoryName, tag: Tag): Key => key(tagsPrefix(name) + tag)

export const tagListPrefix = (name: RepositoryName): string => `r/${folded(name)}/taglist/`
export const tagListKey = (name: RepositoryName, tag: Tag, nonce: string): Key =>
  key(`${tagListPrefix(name)}${tag}!${nonce}`)
/** What is directly below is a folder for each digest. */
export const tagsOfFolder = (name: RepositoryName): string => `r/${folded(name)}/tagsof/`
export const tagsOfPrefix = (name: RepositoryName, digest: Digest): string =>
  `r/${folded(name)}/tagsof/${dashed(digest)}/`
export const tagsOfKey = (name: RepositoryName, digest: Digest, tag: Tag, nonce: string): Key =>
  key(`${tagsOfPrefix(name, digest)}${tag}!${nonce}`)
/** Entries of `taglist/` and of `tagsof/…/`. */
export const tagOfEntry = (entry: string): Tag => entry.slice(0, entry.indexOf('!')) as Tag
export const nonceOfEntry = (entry: string): string => entry.slice(entry.lastIndexOf('!') + 1)
/** `after` for a listing of tags: beyond every entry of `last`; `~` sorts after each digit of a nonce. */
export const afterTag = (last: string): string => `${last}!~`

/** What is directly below is a folder for each subject. */
export const referrersFolder = (name: RepositoryName): string => `r/${folded(name)}/referrers/`
/** Two foreign digests may share it, `a-b:c` and `a:b-c`: an entry counts only for the subject that its manifest names. */
export const referrersPrefix = (name: RepositoryName, subject: Digest | ForeignDigest): string =>
  `r/${folded(name)}/referrers/${dashed(subject)}/`
export const referrersTypePrefix = (artifactType: string): string =>
  `${createHash('sha256').update(artifactType).digest('hex').slice(0, 16)}!`
export const referrerKey = (
  name: RepositoryName,
  subject: Digest | ForeignDigest,
  artifactType: string,
  digest: Digest,
  nonce: string,
): Key => key(`${referrersPrefix(name, subject)}${referrersTypePrefix(artifactType)}${dashed(digest)}!${nonce}`)
/** Of a folder below `tagsOfFolder`. */
export const digestOfFolder = (folder: string): Digest => parseDigest(folder.replace('/', '').replace('-', ':'))
export const digestOfReferrer = (entry: string): Digest => parseDigest((entry.split('!')[1] ?? '').replace('-', ':'))

export const SESSIONS_PREFIX = 'sessions/'
export const sessionKey = (id: string): Key => key(`${SESSIONS_PREFIX}${id}/state`)

/** All data of one session. The last digits of a UUID version 7 are random. */
export const dataPrefix = (session: string): string => `data/${session.slice(-2)}/${session}!`
/** One after the other: where a multipart upload goes. By number, so that one which nobody recorded can be found. */
export const segmentKey = (session: string, number: number): Key => key(`${dataPrefix(session)}${number}`)
/** What is shorter than a part, and what the session may outgrow. */
export const tailKey = (session: string, nonce: string): Key => key(`${dataPrefix(session)}tail-${nonce}`)
export const targetKey = (session: string): Key => key(`${SESSIONS_PREFIX}${session}/target`)

export const ACCOUNTS_PREFIX = 'accounts/'
export const accountKey = ({ kind, name }: { readonly kind: 'user' | 'robot'; readonly name: string }): Key =>
  key(`${ACCOUNTS_PREFIX}${kind === 'robot' ? '!' : ''}${name}`)
export const SIGNING_KEYS_PREFIX = 'keys/'
export const signingKeyKey = (kid: string): Key => key(SIGNING_KEYS_PREFIX + kid)

/** For an entry that a listing of some prefix gave. */
export const keyIn = (prefix: string, entry: string): Key => key(prefix + entry)
