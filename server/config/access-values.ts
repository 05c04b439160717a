/** The kinds of values of the keys about access: who, where, what. As in `values.ts`, a refusal carries no words. */
import { isIP } from 'node:net'
import { parse } from 'yaml'
import { z } from 'zod'
import { isAccountName } from '../../storage/accounts.ts'
import type { Issuer } from '../access/oidc.ts'
import { ACTIONS, type Immutable, isRepositoryPattern, type Rule } from '../access/policy.ts'

/** In a variable a list or map is written as YAML, of which JSON is a part. */
const structured = <T>(type: z.ZodType<T>): z.ZodType<T> =>
  z.preprocess((raw) => (typeof raw === 'string' ? fromYaml(raw) : raw), type)

function fromYaml(text: string): unknown {
  try {
    return parse(text, { logLevel: 'error' }) as unknown
  } catch {
    return text // refused for what it is
  }
}

/** One, or several of them. */
const some = <T extends string>(element: z.ZodType<T>): z.ZodType<T[]> =>
  z.preprocess((raw) => (typeof raw === 'string' ? [raw] : raw), z.array(element).min(1))

const WHO = /^(?:everyone|authenticated|anonymous|(?:user|group|robot|oidc|cert):[^\s:][^\n]*)$/
const TAG_PATTERN = /^[A-Za-z0-9*._-]{1,128}$/

const repositories = (): z.ZodType<string> => z.string().refine(isRepositoryPattern)
const matching = (pattern: RegExp): z.ZodType<string> => z.string().regex(pattern)

export const rules = (): z.ZodType<Rule[]> =>
  structured(
    z.array(
      z.strictObject({
        who: some(matching(WHO)),
        claims: z.record(z.string().min(1), z.string()).default({}),
        repositories: some(repositories()),
        actions: some(z.enum(ACTIONS)),
        effect: z.enum(['allow', 'deny']).default('allow'),
      }),
    ),
  )

export const immutableTags = (): z.ZodType<Immutable[]> =>
  structured(z.array(z.strictObject({ repositories: some(repositories()), tags: some(matching(TAG_PATTERN)) })))

export const groups = (): z.ZodType<Record<string, string[]>> =>
  structured(z.record(z.string().refine(isAccountName), z.array(z.string().min(1))))

/** Addresses, networks, or `unix`; in a variable separated by commas or spaces. */
export const proxies = (): z.ZodType<string[]> =>
  z.preprocess(
    (raw) => (typeof raw === 'string' ? raw.split(/[\s,]+/).filter((part) => part !== '') : raw),
    z.array(z.string().refine(isNetwork)),
  )

function isNetwork(text: string): boolean {
  if (text === 'unix') return true
  const [address = '', bits, ...more] = text.split('/')
  const most = { 4: 32, 6: 128 }[isIP(address)]
  if (most === undefined || more.length > 0) return false
  return bits === undefined || (/^[0-9]{1,3}$/.test(bits) && Number(bits) <= most)
}

/** Plain HTTP only to this machine itself. */
const SECURE_URL = /^(?:https:\/\/[^\s/]+|http:\/\/(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?)(?:\/\S*)?$/

export const issuers = (): z.ZodType<Issuer[]> =>
  structured(
    z.array(
      z.strictObject({
        name: z.string().refine(isAccountName),
        issuer: matching(SECURE_URL),
        audience: z.string().min(1),
        keys: z.union([z.literal('auto'), matching(SECURE_URL)]).default('auto'),
      }),
    ),
  )

/** Of the whole registry: a scheme, a host, perhaps a port, and nothing behind. */
export const urlOr = <Word extends string>(word: Word): z.ZodType<string> =>
  z.union([z.literal(word), z.string().regex(/^https?:\/\/(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$/)])

/** Long enough not to be guessed. Printed as nothing, which therefore is read as none. */
export const secretOr = <Word extends string>(word: Word): z.ZodType<string> =>
  z.preprocess((raw) => raw ?? word, z.union([z.literal(word), z.string().min(32)]))
