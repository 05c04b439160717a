/**
 * The kinds of values that configuration keys have. Each takes the form that a YAML file has and the text that a variable or a
 * flag has, so that a key is written the same everywhere. Refusals carry no words: what is right is said once, beside the key.
 */
import { z } from 'zod'
import { REFERENCE_POLICIES, type ReferencePolicy } from '../../storage/repository.ts'
import { type Address, parseAddress } from '../address.ts'

/** A value that `parse` makes of text or of a number; what it answers `undefined` for is refused. */
const parsed = <T>(parse: (text: string) => T | undefined): z.ZodType<T> =>
  z.union([z.string(), z.number()]).transform((raw, context) => {
    const value = parse(String(raw))
    if (value !== undefined) return value
    context.addIssue({ code: 'custom', input: raw })
    return z.NEVER
  })

const listOf = <T>(element: z.ZodType<T>, separator: RegExp, least = 0): z.ZodType<T[]> =>
  z.preprocess(
    (raw) => (typeof raw === 'string' ? raw.split(separator).filter((part) => part !== '') : raw),
    z.array(element).min(least),
  )

export const flag = (): z.ZodType<boolean> => z.union([z.boolean(), z.stringbool()])

export const text = (pattern: RegExp): z.ZodType<string> => z.string().regex(pattern)

/**
 * What the agents of clients print: printable ASCII. G6: all `Warning` headers together are at most 4096 bytes, each with
 * `299 - "…"` around its text. In a variable one a line.
 */
export const warnings = (): z.ZodType<string[]> =>
  listOf(z.string().regex(/^[\x20-\x7e]+$/), /\n/).refine(
    (texts) =>
      texts.reduce((sum, each) => sum + 'Warning: 299 - ""\r\n'.length + each.replaceAll(/["\\]/g, '""').length, 0) <=
      4096,
  )

/** At least one; in a variable separated by commas or spaces. */
export const addresses = (): z.ZodType<Address[]> => listOf(parsed(parseAddress), /[\s,]+/, 1)

/** An address, or one of a few words. */
export const addressOr = <Word extends string>(...words: readonly Word[]): z.ZodType<Address | Word> =>
  z.union([z.enum(words), parsed(parseAddress)])

const within = (value: number, least: number, most: number): number | undefined =>
  value >= least && value <= most ? value : undefined

export const count = (least: number, most: number): z.ZodType<number> =>
  parsed((raw) => (/^[0-9]{1,15}$/.test(raw) ? within(Number(raw), least, most) : undefined))

export const countOr = <Word extends string>(word: Word, least: number, most: number): z.ZodType<number | Word> =>
  z.union([z.literal(word), count(least, most)])

/** Above zero; fractions are fine. */
export const rateOr = <Word extends string>(word: Word, most: number): z.ZodType<number | Word> =>
  z.union([
    z.literal(word),
    parsed((raw) => (/^[0-9]{1,9}(\.[0-9]{1,3})?$/.test(raw) ? within(Number(raw), 0.001, most) : undefined)),
  ])

const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }

/** Milliseconds; a bare number is seconds. */
export const duration = (leastMs: number, mostMs: number): z.ZodType<number> =>
  parsed((raw) => {
    const [, digits, unit = 's'] = /^([0-9]{1,9})(ms|s|m|h)?$/.exec(raw) ?? []
    return digits === undefined ? undefined : within(Number(digits) * (DURATION_UNITS[unit] ?? 0), leastMs, mostMs)
  })

export const durationOr = <Word extends string>(
  words: readonly [Word, ...Word[]],
  leastMs: number,
  mostMs: number,
): z.ZodType<number | Word> => z.union([z.enum(words), duration(leastMs, mostMs)])

const SIZE_UNITS: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
}

/** Bytes. */
export const size = (least: number, most: number): z.ZodType<number> =>
  parsed((raw) => {
    const [, digits, unit = 'B'] = /^([0-9]{1,12})(B|kB|MB|GB|KiB|MiB|GiB)?$/.exec(raw) ?? []
    return digits === undefined ? undefined : within(Number(digits) * (SIZE_UNITS[unit] ?? 0), least, most)
  })

/** The prefix that every repository has. */
export const EVERY_REPOSITORY = '*'
const PREFIX = /^(?:\*|[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)$/

/** Policies by repository prefix; one word alone is for every repository. */
export const policies = (): z.ZodType<Record<string, ReferencePolicy>> =>
  z.preprocess(
    (raw) => (typeof raw === 'string' ? { [EVERY_REPOSITORY]: raw } : raw),
    z.record(z.string().regex(PREFIX), z.enum(REFERENCE_POLICIES as readonly [ReferencePolicy, ...ReferencePolicy[]])),
  )
