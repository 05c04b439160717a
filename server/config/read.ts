/**
 * The configuration that is in force: flags over environment over file over defaults, checked in one go. Every problem is
 * named, not only the first, with its place, what was found and what would be right.
 */
import type { z } from 'zod'
import { servesAnonymous } from '../access/policy.ts'
import { type ConfigFile, readConfigFile } from './file.ts'
import { type ConfigKey, keysOf } from './key.ts'
import { CONFIG, type Config } from './schema.ts'

export class ConfigInvalid extends Error {
  override readonly name = 'ConfigInvalid'
}

export interface Sources {
  /** `--config`; without it `GANTRY_CONFIG` names the file, if there is one at all. */
  readonly file?: string | undefined
  /** By the flag's name without dashes; absent means not given. */
  readonly flags?: Readonly<Record<string, unknown>>
  readonly env?: Readonly<Record<string, string | undefined>>
}

export interface EffectiveValue {
  readonly key: ConfigKey
  /** As it was written, or as the default would be. */
  readonly raw: unknown
  /** `default`, `FILE:LINE`, `GANTRY_…` or `--flag`. */
  readonly origin: string
}

export interface Effective {
  readonly config: Config
  readonly values: readonly EffectiveValue[]
}

/** Throws `ConfigInvalid` with one line per problem. */
export async function readConfig(sources: Sources): Promise<Effective> {
  const file = await openFile(sources)
  if (file && file.problems.length > 0) throw new ConfigInvalid(file.problems.join('\n'))

  const keys = keysOf(CONFIG)
  const values = keys.map((key) => effective(key, sources, file))
  const merged = mergedWith(file?.content, values)
  const checked = CONFIG.safeParse(merged, { reportInput: true })
  const places: Places = { values, file }
  const problems = [
    ...(checked.error?.issues.flatMap((issue) => problemsOf(issue, places)) ?? []),
    ...misspeltVariables(keys, sources.env ?? {}),
    ...basicProblems(merged, places),
    ...bucketProblems(merged, places),
    ...tlsProblems(merged, places),
  ]
  if (!checked.success || problems.length > 0) throw new ConfigInvalid([...new Set(problems)].join('\n'))
  return { config: checked.data, values }
}

async function openFile({ file, env }: Sources): Promise<ConfigFile | undefined> {
  const name = file ?? (env?.['GANTRY_CONFIG'] || undefined)
  if (name === undefined) return undefined
  try {
    return await readConfigFile(name)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new ConfigInvalid(`${file === undefined ? 'GANTRY_CONFIG' : '--config'}: cannot read ${name}: ${why}`, {
      cause,
    })
  }
}

/** An empty variable counts as not given, as in most programs; an empty flag is a mistake. */
function effective(key: ConfigKey, { flags, env }: Sources, file: ConfigFile | undefined): EffectiveValue {
  const given = key.flag && flags?.[key.flag[0]]
  if (given !== undefined) return { key, raw: given, origin: `--${key.flag?.[0]}` }
  const variable = env?.[key.variable]
  if (variable) return { key, raw: variable, origin: key.variable }
  const written = at(file?.content, key.path)
  if (file && written !== undefined) return { key, raw: written, origin: file.whereIs(key.path) }
  return { key, raw: key.initial, origin: 'default' }
}

const isSection = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const at = (content: unknown, path: readonly string[]): unknown =>
  path.reduce<unknown>(
    (value, name) => (isSection(value) && Object.hasOwn(value, name) ? value[name] : undefined),
    content,
  )

/** What the file says, unknown keys included, with the effective values in their places. A section that is none stays, to be refused. */
function mergedWith(content: unknown, values: readonly EffectiveValue[]): unknown {
  const merged: unknown = structuredClone(content ?? {})
  for (const { key, raw } of values) {
    let section = merged
    for (const name of key.path.slice(0, -1)) {
      if (!isSection(section)) break
      section = section[name] ??= {} // a section whose keys are all commented out is empty
    }
    if (isSection(section)) section[key.path.at(-1) ?? ''] = raw
  }
  return merged
}

interface Places {
  readonly values: readonly EffectiveValue[]
  readonly file: ConfigFile | undefined
}

function problemsOf(issue: z.core.$ZodIssue, places: Places): string[] {
  const path = issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step))
  if (issue.code === 'unrecognized_keys') return issue.keys.map((name) => unknownKey([...path, name], places))

  const value = places.values.find(({ key }) => key.path.every((name, index) => name === path[index]))
  if (value) {
    const { key, origin } = value
    const found = key.secret ? 'something else' : shown(issue.input)
    return [
      `${whereOf(value, path, places)}: found ${found}, expected ${key.expected}${origin === 'default' ? ' (default)' : ''}`,
    ]
  }
  const below = places.values.filter(({ key }) => path.every((name, index) => name === key.path[index]))
  const names = new Set(below.map(({ key }) => key.path[path.length]))
  const where = places.file?.whereIs(path) ?? ''
  return [
    `${where}: ${printPath(path) || 'the file'}: found ${shown(issue.input)}, expected a map with keys among ${[...names].join(', ')}`,
  ]
}

/** A flag or variable is its own place; in a file the line and the path are. */
function whereOf({ key, origin }: EffectiveValue, path: readonly (string | number)[], { file }: Places): string {
  if (origin.startsWith('--') || origin === key.variable) return origin
  return `${file?.whereIs(path) ?? origin}: ${printPath(path)}`
}

/** Other variables of this prefix are not ours to refuse (Kubernetes makes some of a service's name); one that is almost ours is. */
function misspeltVariables(keys: readonly ConfigKey[], env: NonNullable<Sources['env']>): string[] {
  const known = ['GANTRY_CONFIG', ...keys.map(({ variable }) => variable)]
  return Object.keys(env)
    .filter((name) => name.startsWith('GANTRY_') && !known.includes(name))
    .flatMap((name) => {
      const meant = known.find((each) => editDistance(name, each) <= 2)
      return meant === undefined ? [] : [`${name}: unknown variable; did you mean ${meant}?`]
    })
}

function unknownKey(path: readonly (string | number)[], { values, file }: Places): string {
  const name = String(path.at(-1))
  const nearest = values
    .map(({ key }) => ({ key, distance: editDistance(name.toLowerCase(), (key.path.at(-1) ?? '').toLowerCase()) }))
    .toSorted((a, b) => a.distance - b.distance)[0]
  const meant = nearest && nearest.distance <= Math.max(2, name.length / 3) ? nearest.key.path.join('.') : undefined
  return `${file?.whereIs(path) ?? ''}: ${printPath(path)}: unknown key${meant === undefined ? '; `gantry config docs` lists all' : `; did you mean ${meant}?`}`
}

function printPath(path: readonly (string | number)[]): string {
  return path.reduce<string>(
    (text, step) => (typeof step === 'number' ? `${text}[${step}]` : text === '' ? step : `${text}.${step}`),
    '',
  )
}

function shown(value: unknown): string {
  if (value === undefined || value === null) return 'nothing'
  const text = JSON.stringify(value)
  return text.length > 160 ? `${text.slice(0, 160)}…` : text
}

/** Levenshtein's. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

/** Docker has no way to ask as nobody where there are no tokens. Looks at the two keys by themselves, whatever else is wrong. */
function basicProblems(merged: unknown, places: Places): string[] {
  const basic = CONFIG.shape.accounts.shape.basic.safeParse(at(merged, ['accounts', 'basic']))
  const rules = CONFIG.shape.policy.shape.rules.safeParse(at(merged, ['policy', 'rules']))
  const value = places.values.find(({ key }) => key.path.join('.') === 'accounts.basic')
  if (!value || basic.data !== 'only' || !rules.success) return []
  if (!servesAnonymous({ rules: rules.data, immutableTags: [], groups: {} })) return []
  return [
    `${whereOf(value, ['accounts', 'basic'], places)}: found only, but policy.rules gives something to those without account, ` +
      'who get it with tokens alone: expected also or off',
  ]
}

/** What is kept in a bucket needs one; and without conditional writes several workers are several replicas. */
function bucketProblems(merged: unknown, places: Places): string[] {
  if (at(merged, ['storage']) !== 's3') return []
  const effectiveOf = (...path: string[]): EffectiveValue | undefined =>
    places.values.find(({ key }) => key.path.join('.') === path.join('.'))
  const storage = effectiveOf('storage')
  const workers = effectiveOf('workers')
  const alone = CONFIG.shape.s3.shape.singleReplica.safeParse(at(merged, ['s3', 'singleReplica']))
  const problems: string[] = []
  if (storage && !at(merged, ['s3', 'bucket'])) {
    problems.push(
      `${whereOf(storage, ['storage'], places)}: s3 needs the name of a bucket in s3.bucket (GANTRY_S3_BUCKET)`,
    )
  }
  if (workers && String(workers.raw) !== '1' && alone.success && alone.data) {
    problems.push(
      `${whereOf(workers, ['workers'], places)}: found ${shown(workers.raw)}, expected 1 with s3.singleReplica`,
    )
  }
  return problems
}

/** What needs a certificate has one, and it comes from one place. */
function tlsProblems(merged: unknown, places: Places): string[] {
  const effectiveOf = (name: string): EffectiveValue | undefined =>
    places.values.find(({ key }) => key.path.join('.') === `tls.${name}`)
  const isSet = (name: string): boolean => !['off', 'false', ''].includes(String(effectiveOf(name)?.raw))
  const problem = (name: string, expected: string): string => {
    const value = effectiveOf(name)
    return `${value ? whereOf(value, ['tls', name], places) : ''}: found ${shown(value?.raw)}, expected ${expected}`
  }
  if (!isSection(at(merged, ['tls']))) return [] // said already
  if (isSet('certificate')) return isSet('selfSigned') ? [problem('selfSigned', 'nothing beside tls.certificate')] : []
  const needing = ['key', ...(isSet('selfSigned') ? [] : ['clientAuthorities', 'redirect'])].filter(isSet)
  return needing.map((name) =>
    problem(name, name === 'key' ? 'tls.certificate beside it' : 'tls.certificate or tls.selfSigned beside it'),
  )
}
