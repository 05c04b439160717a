/**
 * What a client asks to be allowed, in docker's words (K8): `type:name:action,action`, separated by spaces or given in several
 * parameters. A name may hold colons (`host:port/a`), a type may have a class in parentheses, which means nothing to us.
 */
import { RegistryError } from '../errors.ts'

export interface Scope {
  readonly type: string
  readonly name: string
  readonly actions: readonly string[]
}

/** The name in a scope for every repository that the policy lets the holder pull from: no client can name where a mount without source will find its blob. */
export const ANYWHERE = '*'

const MOST_SCOPES = 100
const LONGEST_SCOPES = 16_384

/** What is no scope is left out: asking for more than there is is no error. Throws 400 for more than anybody needs. */
export function parseScopes(texts: readonly string[]): readonly Scope[] {
  const all = texts.join(' ')
  if (all.length > LONGEST_SCOPES) throw tooMany(`${all.length} characters`)
  const words = all.split(' ').filter((word) => word !== '')
  if (words.length > MOST_SCOPES) throw tooMany(`${words.length} scopes`)
  return words.map(parseScope).filter((scope) => scope !== undefined)
}

const tooMany = (found: string): RegistryError =>
  new RegistryError('tokenRequestInvalid', {
    detail: { scope: found, expected: `at most ${MOST_SCOPES} scopes in ${LONGEST_SCOPES} characters` },
  })

function parseScope(word: string): Scope | undefined {
  const [first, last] = [word.indexOf(':'), word.lastIndexOf(':')]
  if (first <= 0 || first === last) return undefined
  const type = word.slice(0, first).replace(/\([^()]*\)$/, '')
  const actions = word.slice(last + 1).split(',')
  return { type, name: word.slice(first + 1, last), actions: [...new Set(actions.filter((action) => action !== ''))] }
}

export const printScope = ({ type, name, actions }: Scope): string => `${type}:${name}:${actions.join(',')}`
