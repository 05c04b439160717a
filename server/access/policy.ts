/**
 * Who may do what: rules from top to bottom, and the first that is about the one who asks, the repository and the action decides.
 * If none is, a robot has what it was given when it was made; everything else is refused. Pure: what it knows it is told.
 */
import type { RepositoryName, Tag } from '../../storage/model/reference.ts'
import { matchesGlob } from './glob.ts'
import type { Identity } from './identity.ts'

/** `push` is content: blobs, and manifests by digest. */
export const ACTIONS = ['pull', 'push', 'delete', 'create-tag', 'move-tag', 'admin'] as const
export type Action = (typeof ACTIONS)[number]

export interface Rule {
  /** `user:NAME`, `group:NAME`, `robot:NAME`, `oidc:NAME`, `cert:NAME` with patterns for names; `authenticated`, `anonymous`, `everyone`. */
  readonly who: readonly string[]
  /** All of them must hold: patterns for what the issuer says. */
  readonly claims: Readonly<Record<string, string>>
  readonly repositories: readonly string[]
  readonly actions: readonly Action[]
  readonly effect: 'allow' | 'deny'
}

/** Whether it could be about some repository: a rule about none would allow, or deny, nothing, and nobody would notice. */
export const isRepositoryPattern = (text: string): boolean =>
  /^[a-z0-9*._/-]{1,255}$/.test(text) && !/^\/|\/$|\/\/|\.\./.test(text)

export interface Immutable {
  readonly repositories: readonly string[]
  readonly tags: readonly string[]
}

export interface Policy {
  readonly rules: readonly Rule[]
  /** Tags that, once there, neither move nor go, whoever asks. */
  readonly immutableTags: readonly Immutable[]
  /** Members by group, for users; those that an account itself names come on top. */
  readonly groups: Readonly<Record<string, readonly string[]>>
}

export interface Decision {
  readonly allowed: boolean
  /** What decided: the index of a rule, the robot's own grant, or nothing. */
  readonly by: number | 'grant' | 'nothing'
}

/** For a registry with accounts and no rules of its own: who has an account, or a certificate, may do everything but administer. */
export const USERS_DO_ALL: readonly Rule[] = [
  {
    who: ['user:*', 'cert:*'],
    claims: {},
    repositories: ['*'],
    actions: ['pull', 'push', 'delete', 'create-tag', 'move-tag'],
    effect: 'allow',
  },
]

export function decide(policy: Policy, identity: Identity, action: Action, repository: RepositoryName): Decision {
  const names = namesOf(policy, identity)
  for (const [index, rule] of policy.rules.entries()) {
    if (!coversAction(rule.actions, action)) continue
    if (!rule.repositories.some((pattern) => matchesGlob(pattern, repository))) continue
    if (!rule.who.some((who) => names.some((name) => matchesGlob(who, name)))) continue
    if (!holdsClaims(rule, identity)) continue
    return { allowed: rule.effect === 'allow', by: index }
  }
  const granted = identity.grants.some(
    (grant) => matchesGlob(grant.repositories, repository) && coversAction(grant.actions as readonly Action[], action),
  )
  return granted ? { allowed: true, by: 'grant' } : { allowed: false, by: 'nothing' }
}

export const isImmutable = (policy: Policy, repository: RepositoryName, tag: Tag): boolean =>
  policy.immutableTags.some(
    ({ repositories, tags }) =>
      repositories.some((pattern) => matchesGlob(pattern, repository)) &&
      tags.some((pattern) => matchesGlob(pattern, tag)),
  )

/** Whether somebody without account may do anything at all: whether it makes sense to give them a token. */
export const servesAnonymous = ({ rules }: Policy): boolean =>
  rules.some(
    ({ who, effect }) => effect === 'allow' && who.some((each) => UNKNOWN.some((name) => matchesGlob(each, name))),
  )

/** The claims that rules ask for: what a token must carry of an identity that only its issuer knows. */
export const claimsAskedFor = ({ rules }: Policy): ReadonlySet<string> =>
  new Set(rules.flatMap(({ claims }) => Object.keys(claims)))

/** `push` alone is what `docker push` needs, tags included; beside one of the rights to tags it is content only. */
function coversAction(actions: readonly Action[], action: Action): boolean {
  if (actions.includes(action)) return true
  if (action !== 'create-tag' && action !== 'move-tag') return false
  return actions.includes('push') && !actions.includes('create-tag') && !actions.includes('move-tag')
}

/** What somebody without account is called. */
const UNKNOWN: readonly string[] = ['anonymous', 'everyone']

function namesOf({ groups }: Policy, identity: Identity): readonly string[] {
  const { kind, name } = identity
  if (kind === 'anonymous') return UNKNOWN
  const names = [`${kind}:${name}`, 'authenticated', 'everyone', ...identity.groups.map((group) => `group:${group}`)]
  if (kind !== 'user') return names
  for (const [group, members] of Object.entries(groups)) if (members.includes(name)) names.push(`group:${group}`)
  return names
}

const holdsClaims = ({ claims }: Rule, identity: Identity): boolean =>
  Object.entries(claims).every(
    ([name, pattern]) => Object.hasOwn(identity.claims, name) && matchesGlob(pattern, identity.claims[name] ?? ''),
  )

/** In a sentence, for `gantry policy explain` and for whoever was refused and asks the operator. */
export function explain(policy: Policy, who: string, action: Action, repository: string, decision: Decision): string {
  const answer = `${who} ${decision.allowed ? 'may' : 'may not'} ${action} in ${repository}`
  if (decision.by === 'nothing') {
    return `${answer}: no rule is about this, and what no rule allows is refused${whoCould(policy, action, repository)}`
  }
  if (decision.by === 'grant') return `${answer}: no rule is about this, and the robot was made with this right`
  const rule = policy.rules[decision.by]
  return rule ? `${answer}: rule ${decision.by + 1} decides: ${printRule(rule)}` : answer
}

/** The rules that would say yes to somebody else, or to other claims: where to look for what is missing. */
function whoCould({ rules }: Policy, action: Action, repository: string): string {
  return rules
    .map((rule, index) => ({ rule, number: index + 1 }))
    .filter(({ rule: { effect, actions } }) => effect === 'allow' && coversAction(actions, action))
    .filter(({ rule }) => rule.repositories.some((pattern) => matchesGlob(pattern, repository)))
    .map(({ rule, number }) => `; rule ${number} allows it to ${printHolders(rule)}`)
    .join('')
}

const printRule = (rule: Rule): string =>
  `${rule.effect} ${rule.actions.join(', ')} in ${rule.repositories.join(', ')} to ${printHolders(rule)}`

function printHolders({ who, claims }: Rule): string {
  const given = Object.entries(claims).map(([name, pattern]) => `${name}=${pattern}`)
  const condition = given.length === 0 ? '' : ` with ${given.join(' and ')}`
  return `${who.join(', ')}${condition}`
}
