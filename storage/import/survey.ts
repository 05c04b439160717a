/** A walk over an old registry's tree without a change: what is in it, or whether ours has the same. */
import { forEachAtOnce } from '../at-once.ts'
import type { RepositoryName } from '../model/reference.ts'
import type { Store } from '../store.ts'
import { type DistributionTree, isBroken } from './distribution.ts'
import { manifestOf, type Problem, sizeOfBlob } from './import.ts'

const AT_ONCE = 8

interface SurveyOptions {
  readonly wants: (name: RepositoryName) => boolean
  readonly onProblem: (problem: Problem) => void
}

export interface Contents {
  readonly repositories: number
  readonly blobs: number
  readonly manifests: number
  readonly tags: number
  /** Of blobs, those that several repositories share counted in each. */
  readonly bytes: number
}

/** What an import would find. What is not there is reported; whether bytes are right only an import sees. */
export async function surveyTree(tree: DistributionTree, { wants, onProblem }: SurveyOptions): Promise<Contents> {
  const counts = { repositories: 0, blobs: 0, manifests: 0, tags: 0, bytes: 0 }
  for await (const name of tree.repositories()) {
    if (isBroken(name)) {
      onProblem({ kind: 'link', what: name.path, says: name.says })
      continue
    }
    if (!wants(name)) continue
    counts.repositories += 1
    for (const kind of ['blob', 'manifest'] as const) {
      await forEachAtOnce(kind === 'blob' ? tree.layers(name) : tree.revisions(name), AT_ONCE, async (link) => {
        if (isBroken(link)) return onProblem({ kind: 'link', repository: name, what: link.path, says: link.says })
        const sizeBytes = await tree.sizeOf(link.stored)
        if (sizeBytes === undefined) {
          return onProblem({
            kind,
            repository: name,
            what: link.digest,
            says: `${tree.pathOf(link.stored)} is missing`,
          })
        }
        counts[`${kind}s`] += 1
        if (kind === 'blob') counts.bytes += sizeBytes
      })
    }
    for await (const tag of tree.tags(name)) {
      if (isBroken(tag)) onProblem({ kind: 'link', repository: name, what: tag.path, says: tag.says })
      else counts.tags += 1
    }
  }
  return counts
}

/** How many there are in the old tree, and how many of them are the same here. */
interface Tally {
  readonly all: number
  readonly same: number
}

export type Comparison = Readonly<Record<'blobs' | 'manifests' | 'tags', Tally>>

/**
 * Every blob is linked here in its size (its bytes were hashed before it had a name), every manifest has its digest, which is
 * computed anew, every tag points at the same one. What is not the same is reported.
 */
export async function compareTree(
  tree: DistributionTree,
  store: Store,
  { wants, onProblem }: SurveyOptions,
): Promise<Comparison> {
  const tallies = { blobs: { all: 0, same: 0 }, manifests: { all: 0, same: 0 }, tags: { all: 0, same: 0 } }
  for await (const name of tree.repositories()) {
    if (isBroken(name) || !wants(name)) continue
    const repository = store.repository(name)
    const judge = (kind: 'blob' | 'manifest' | 'tag', what: string, isSame: boolean, says: string): void => {
      tallies[`${kind}s`].all += 1
      if (isSame) tallies[`${kind}s`].same += 1
      else onProblem({ kind, repository: name, what, says })
    }
    await forEachAtOnce(tree.layers(name), AT_ONCE, async (link) => {
      if (isBroken(link)) return judge('blob', link.path, false, link.says)
      const [here, there] = [await sizeOfBlob(repository, link.digest), await tree.sizeOf(link.stored)]
      judge('blob', link.digest, here !== undefined && here === there, 'it is not here')
    })
    await forEachAtOnce(tree.revisions(name), AT_ONCE, async (link) => {
      if (isBroken(link)) return judge('manifest', link.path, false, link.says)
      judge('manifest', link.digest, (await manifestOf(repository, link.digest)) !== undefined, 'it is not here')
    })
    await forEachAtOnce(tree.tags(name), AT_ONCE, async (found) => {
      if (isBroken(found)) return judge('tag', found.path, false, found.says)
      const here = (await manifestOf(repository, found.tag))?.digest
      judge('tag', found.tag, here === found.digest, `it is ${here ?? 'not'} here, ${found.digest} in the old registry`)
    })
  }
  return tallies
}
