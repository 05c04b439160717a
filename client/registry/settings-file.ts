/** What may stand in the user's file about registries. Loaded by who has one: most have none, and what reads it is large. */
import { parse } from 'yaml'
import { z } from 'zod'
import { parseRegistry } from '../model/image-name.ts'

const registrySchema = z.strictObject({
  /** `HOST[:PORT][/PREFIX]`, tried in this order before the registry itself. */
  mirrors: z
    .array(z.string().regex(/^[^/\s]+(\/[a-z0-9][a-z0-9._/-]*)?$/, 'must be HOST[:PORT] or HOST[:PORT]/PREFIX'))
    .default([]),
  /** Speak http to it. */
  plainHttp: z.boolean().default(false),
  /** Believe whoever answers by https to be it. */
  insecureTls: z.boolean().default(false),
})

const settingsSchema = z.strictObject({
  registries: z.record(z.string(), registrySchema).default({}),
})

export type RegistrySettings = z.infer<typeof registrySchema>
export type Settings = z.infer<typeof settingsSchema>

/** Throws an error that names the file, the place in it, what is there and what would be right: all of them at once. */
export function parseSettings(text: string, path: string): Settings {
  let document: unknown
  try {
    document = parse(text)
  } catch (cause) {
    throw new Error(`${path} is not YAML: ${(cause as Error).message.split('\n')[0]}`, { cause })
  }
  const result = settingsSchema.safeParse(document ?? {})
  if (!result.success) {
    const problems = result.error.issues.map(({ path: at, message }) => `  ${at.join('.') || 'the file'}: ${message}`)
    throw new Error(`${path} is not as it should be:\n${problems.join('\n')}`)
  }
  for (const registry of Object.keys(result.data.registries)) parseRegistry(registry)
  return result.data
}
