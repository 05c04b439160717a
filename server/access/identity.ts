/** Who asks. An identity is known by its subject: the text in tokens, in the audit log, and beside what was pushed. */
import type { AccountId, Grant } from '../../storage/accounts.ts'

export interface Identity {
  readonly kind: 'user' | 'robot' | 'oidc' | 'cert' | 'anonymous'
  /** Of the account, of the issuer, or of the certificate. */
  readonly name: string
  readonly groups: readonly string[]
  /** What a robot may do. */
  readonly grants: readonly Grant[]
  /** What an issuer says about it: only what the policy asks for, as text. */
  readonly claims: Readonly<Record<string, string>>
}

export const ANONYMOUS: Identity = { kind: 'anonymous', name: '', groups: [], grants: [], claims: {} }

export const printSubject = ({ kind, name }: Pick<Identity, 'kind' | 'name'>): string =>
  kind === 'anonymous' ? kind : `${kind}:${name}`

/** How a robot is called where a user name is asked for. */
const ROBOT_SIGN = 'robot+'

export const loginOf = ({ kind, name }: AccountId): string => (kind === 'robot' ? ROBOT_SIGN + name : name)

export const accountOfLogin = (login: string): AccountId =>
  login.startsWith(ROBOT_SIGN) ? { kind: 'robot', name: login.slice(ROBOT_SIGN.length) } : { kind: 'user', name: login }
