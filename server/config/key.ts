/** One key of the configuration: what it says about itself, and how the keys of a schema are found. The schema itself is in `schema.ts`. */
import { z } from 'zod'

interface KeyFacts {
  /** For the reference: a sentence or two. */
  readonly doc: string
  /** What would be right, after "expected". */
  readonly expected: string
  /** As one would write it in the file. */
  readonly initial: unknown
  /** Its name on the command line, without `--`, and what its value is called there; for a switch, no value. */
  readonly flag?: readonly [name: string, value?: string]
  /** The flag may be given several times, each time for one more. */
  readonly repeatable?: true
  /** Never printed. */
  readonly secret?: true
}

const KEY_FACTS = z.registry<KeyFacts>()

/** Remembers with a type of the schema what it is for. */
export const key = <T extends z.ZodType>(type: T, facts: KeyFacts): T => {
  KEY_FACTS.add(type, facts)
  return type
}

export interface ConfigKey extends KeyFacts {
  readonly path: readonly string[]
  /** Of the environment. */
  readonly variable: string
}

/** The keys of a schema, in its order; sections are walked through. */
export function keysOf(schema: z.ZodObject, above: readonly string[] = []): readonly ConfigKey[] {
  return Object.entries(schema.shape).flatMap(([name, type]) => {
    const path = [...above, name]
    if (type instanceof z.ZodObject) return keysOf(type, path)
    const facts = KEY_FACTS.get(type as z.ZodType)
    if (!facts) throw new TypeError(`the key ${path.join('.')} says nothing about itself`)
    return [{ ...facts, path, variable: variableOf(path) }]
  })
}

/** `rateLimit.burst` is `GANTRY_RATE_LIMIT_BURST`. */
const variableOf = (path: readonly string[]): string =>
  `GANTRY_${path.map((name) => name.replaceAll(/(?=[A-Z])/g, '_').toUpperCase()).join('_')}`
