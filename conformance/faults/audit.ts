/** What is there, against what was said: through the registry, as a client sees it, and in the place itself, after the sweep. */
import { Blobs } from '../../storage/blobs.ts'
import type { Key, StorageDriver } from '../../storage/driver.ts'
import { sweepIndexes } from '../../storage/index-sweep.ts'
import { Manifests } from '../../storage/manifests.ts'
import { formatDigest } from '../../storage/model/digest.ts'
import { Tags } from '../../storage/tags.ts'
import { openUploads } from '../../storage/uploads.ts'
import { Violation } from './actor.ts'
import type { Fleet } from './fleets.ts'
import { type Answer, ask } from './http.ts'
import { keysBelow } from './keys.ts'
import { GONE, type RepositoryLedger, sha256 } from './ledger.ts'

const DAY_MS = 24 * 60 * 60 * 1000

/** Everything that a client can ask about; throws for the first thing that is not as it was acknowledged. */
export async function auditVisible(
  urls: readonly string[],
  repositories: readonly RepositoryLedger[],
): Promise<number> {
  let looked = 0
  const get = async (path: string): Promise<Answer> => {
    const url = urls[looked++ % urls.length]
    const answer = await ask('GET', `${url}/v2/${path}`)
    if (answer && answer.status < 500) return answer
    throw new Violation(`GET ${path} of a registry that is well: ${answer?.status ?? 'cut'} ${answer?.body.toString()}`)
  }
  for (const repository of repositories) {
    for (const [digest, { sizeBytes, linked }] of repository.blobs) {
      const { status, body } = await get(`${repository.name}/blobs/${digest}`)
      demand(status === 200 || status === 404, `${repository.name} answers ${status} for ${digest}`)
      demand(linked.has(status === 200), `${digest} of ${repository.name} is ${status}, linked: ${linked}`)
      demand(status === 404 || (body.length === sizeBytes && sha256(body) === digest), `wrong bytes for ${digest}`)
    }
    for (const [digest, { bytes, live }] of repository.manifests) {
      const { status, body } = await get(`${repository.name}/manifests/${digest}`)
      demand(live.has(status === 200), `${digest} of ${repository.name} is ${status}, live: ${live}`)
      demand(status === 404 || body.toString() === bytes, `wrong bytes for ${digest}`)
    }
    await auditTags(repository, get)
    await auditReferrers(repository, get)
  }
  return looked
}

type Get = (path: string) => Promise<Answer>

async function auditTags(repository: RepositoryLedger, get: Get): Promise<void> {
  const there = new Set<string>()
  for (const [tag, points] of repository.tags) {
    const { status, headers } = await get(`${repository.name}/manifests/${tag}`)
    const found = status === 200 ? String(headers['docker-content-digest']) : GONE
    demand(points.has(found), `the tag ${tag} of ${repository.name} is ${found || status}, not ${points}`)
    if (found !== GONE) there.add(tag)
  }
  const listed = await get(`${repository.name}/tags/list`)
  if (listed.status === 404) return demand(there.size === 0, `${repository.name} is unknown`)
  const { tags } = JSON.parse(listed.body.toString()) as { tags: string[] }
  for (const tag of there) demand(tags.includes(tag), `${tag} of ${repository.name} is not listed`)
}

async function auditReferrers({ name, manifests }: RepositoryLedger, get: Get): Promise<void> {
  for (const subject of new Set([...manifests.values()].flatMap(({ subject }) => subject ?? []))) {
    const { body } = await get(`${name}/referrers/${subject}`)
    const listed = (JSON.parse(body.toString()) as { manifests: { digest: string }[] }).manifests.map(
      ({ digest }) => digest,
    )
    demand(new Set(listed).size === listed.length, `a referrer of ${subject} is listed twice`)
    for (const [digest, { live, subject: its }] of manifests) {
      if (its !== subject) continue
      demand(live.has(listed.includes(digest)), `${digest} among the referrers of ${subject}: live ${live}`)
    }
    for (const digest of listed)
      demand(manifests.get(digest)?.subject === subject, `${digest} is no referrer of ${subject}`)
  }
}

/** What is left once everybody has been away for weeks and the sweep has passed: by name, with what it has to do with. */
export async function sweptLeftovers(fleet: Fleet): Promise<readonly string[]> {
  const driver = await fleet.openDriver()
  try {
    const uploads = openUploads(driver, new Blobs(driver))
    for (const days of [8, 16]) await uploads.sweep(Date.now() + days * DAY_MS)
    await sweepIndexes(driver, new Tags(driver), new Manifests(driver))
    return [
      ...(await keysBelow(driver, 'sessions/')),
      ...(await wrongBlobs(driver)),
      ...(await strayEntries(driver)),
      ...(await fleet.leftovers()),
    ]
  } finally {
    await driver.close()
  }
}

/** Of all blobs that are there, whoever links them. */
async function wrongBlobs(driver: StorageDriver): Promise<readonly string[]> {
  const found: string[] = []
  for (const key of await keysBelow(driver, 'blobs/')) {
    const [, algorithm, , hex = ''] = key.split('/')
    const { body } = await driver.read(key as Key)
    const bytes = Buffer.concat(await Array.fromAsync(body as AsyncIterable<Buffer>))
    if (sha256(bytes) !== formatDigest(algorithm as 'sha256', hex)) found.push(`${key} has other bytes`)
  }
  return found
}

/** Entries of the lists of tags and referrers that no record names. */
async function strayEntries(driver: StorageDriver): Promise<readonly string[]> {
  const strays: string[] = []
  const record = async (key: string): Promise<Record<string, unknown> | undefined> => {
    const found = await driver.readSmall(key as Key)
    const text = found && Buffer.from(found.bytes).toString()
    return text === undefined ? undefined : JSON.parse(text.split('\n')[0] ?? '')
  }
  for (const key of await keysBelow(driver, 'r/')) {
    const [, repository, kind, ...rest] = key.split('/')
    const [name = '', ...more] = (rest.at(-1) ?? '').split('!')
    const nonce = more.at(-1)
    if (kind === 'taglist' || kind === 'tagsof') {
      const tag = await record(`r/${repository}/tags/${name}`)
      const its = kind === 'taglist' ? tag?.['listed'] : tag?.['indexed']
      if (tag?.['live'] !== true || its !== nonce) strays.push(key)
    }
    if (kind === 'referrers') {
      const manifest = await record(`r/${repository}/manifests/${more[0]}`)
      const referrer = manifest?.['referrer'] as { nonce: string } | undefined
      if (manifest?.['live'] !== true || referrer?.nonce !== nonce) strays.push(key)
    }
  }
  return strays
}

function demand(holds: boolean, otherwise: string): void {
  if (!holds) throw new Violation(otherwise)
}
