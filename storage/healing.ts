/** What makes a damaged record whole again, by what it was. */
import type { Key } from './driver.ts'
import type { RecordDamaged } from './errors.ts'
import {
  ACCOUNTS_PREFIX,
  CATALOG_PREFIX,
  digestOfManifest,
  LINKS_PREFIX,
  repositoryOfEntry,
  SIGNING_KEYS_PREFIX,
} from './layout.ts'

/** For the person who looks after the registry. */
export function howToHeal({ key, problem }: RecordDamaged): {
  readonly record: Key
  readonly problem: string
  readonly heals: string
} {
  return { record: key as Key, problem, heals: healsOf(key) }
}

function healsOf(key: string): string {
  const last = key.slice(key.lastIndexOf('/') + 1)
  if (key.startsWith(LINKS_PREFIX)) return `push the blob to ${repositoryOfEntry(last)} again, or mount it`
  if (key.startsWith(CATALOG_PREFIX)) {
    const name = repositoryOfEntry(last)
    return `push any manifest to ${name} again; if the repository was deleted once, that is refused: put the record back from a backup, or delete the repository (gantry repo delete ${name}) and push again`
  }
  if (key.startsWith(ACCOUNTS_PREFIX))
    return 'put the record back from a backup: until then nobody can log in with that account'
  if (key.startsWith(SIGNING_KEYS_PREFIX))
    return 'put the record back from a backup, or let the registry make another key: tokens of this one are not believed'
  const [, repository = '', kind] = key.split('/')
  const what = kind === 'tags' ? `the tag ${last}` : `the manifest ${digestOfManifest(key)}, and its tags,`
  return `push ${what} to ${repositoryOfEntry(repository)} again`
}
