/** What somebody may have meant who named what is not there: the tags that are nearest to theirs. */
import { RegistryRefusal } from './refusals.ts'

const LOOKED_AT = 10_000
const SHOWN = 3
/** Further apart, it is another word. */
const FARTHEST = 4

interface TaggedRepository {
  readonly label: string
  readonly transport: { readonly registry: string }
  tags(): AsyncIterable<string>
}

/** The refusal of a manifest, with what is there instead. Costs one more question; what that one comes to is not the news. */
export async function explainAbsence(
  repository: TaggedRepository,
  reference: string,
  refusal: RegistryRefusal,
): Promise<RegistryRefusal> {
  const withAdvice = (text: string): RegistryRefusal =>
    new RegistryRefusal(text, refusal.status, refusal.code, { cause: refusal })
  const tags: string[] = []
  try {
    for await (const tag of repository.tags()) if (tags.push(tag) >= LOOKED_AT) break
  } catch {
    const hint = `There is no repository of that name that you may pull from; \`gantry tags ${repository.transport.registry}\` lists those that you may see`
    return refusal.code === 'NAME_UNKNOWN' ? withAdvice(`${refusal.message}. ${hint}`) : refusal
  }
  if (reference.includes(':'))
    return withAdvice(`${repository.label} has no manifest ${reference} (${refusal.message})`)
  const near = nearest(reference, tags)
  const what = near.length > 0 ? `The nearest are: ${near.join(', ')}` : 'It has no tags at all'
  return withAdvice(
    `${repository.label} has no tag ${JSON.stringify(reference)}. ${what}; \`gantry tags ${repository.label}\` lists all`,
  )
}

/** The most likely first. Where none is near, the last ones: the newest versions, as versions are mostly counted. */
export function nearest(wanted: string, candidates: readonly string[]): readonly string[] {
  const lower = wanted.toLowerCase()
  const rated = candidates.map((candidate) => {
    const other = candidate.toLowerCase()
    const begins = other.startsWith(lower) || lower.startsWith(other)
    return { candidate, distance: begins ? Math.abs(other.length - lower.length) / 10 : distance(lower, other) }
  })
  const near = rated.filter((each) => each.distance <= Math.min(FARTHEST, Math.max(1, wanted.length - 1)))
  if (near.length === 0) return candidates.slice(-SHOWN)
  return near
    .sort((a, b) => a.distance - b.distance)
    .slice(0, SHOWN)
    .map(({ candidate }) => candidate)
}

/** Of Levenshtein: how many letters to add, to take away or to change. */
function distance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > FARTHEST) return Number.POSITIVE_INFINITY
  let above = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const changed = (above[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1)
      current.push(Math.min(changed, (above[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1))
    }
    above = current
  }
  return above[b.length] ?? 0
}
