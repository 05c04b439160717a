/** Reference policies by repository prefix: the longest prefix wins, and a prefix ends where a component of the name ends. */
import type { RepositoryName } from '../../storage/model/reference.ts'
import type { ReferencePolicy } from '../../storage/repository.ts'
import { EVERY_REPOSITORY } from './values.ts'

export function policyFor(
  policies: Readonly<Record<string, ReferencePolicy>>,
): (name: RepositoryName) => ReferencePolicy {
  const byPrefix = new Map(Object.entries(policies))
  const others = byPrefix.get(EVERY_REPOSITORY) ?? 'sparse-index'
  return (name) => {
    for (let prefix: string = name; prefix !== ''; prefix = prefix.slice(0, Math.max(0, prefix.lastIndexOf('/')))) {
      const policy = byPrefix.get(prefix)
      if (policy !== undefined) return policy
    }
    return others
  }
}
