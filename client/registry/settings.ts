/**
 * The user's own small file about registries: mirrors that are tried first, and what is insecure by decision. `$GANTRY_CLIENT_CONFIG`, else
 * `$XDG_CONFIG_HOME/gantry/client.yaml`, else `/etc/gantry/client.yaml`:
 *
 *     registries:
 *       registry.example:
 *         mirrors: [mirror.internal:5000, cache.internal/registry.example]
 *       lab.internal:5000:
 *         plainHttp: true
 *       old.internal:
 *         insecureTls: true
 */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { parse } from 'yaml'
import { z } from 'zod'
import { parseRegistry } from '../model/image-name.ts'
import type { Environment } from './credentials.ts'

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

/** The file that was named must be there; the others need not. */
export async function readSettings(environment: Environment): Promise<Settings> {
  const named = environment['GANTRY_CLIENT_CONFIG']
  const config = environment['XDG_CONFIG_HOME'] || join(environment['HOME'] || homedir(), '.config')
  for (const path of named ? [named] : [join(config, 'gantry', 'client.yaml'), '/etc/gantry/client.yaml']) {
    try {
      return parseSettings(await readFile(path, 'utf8'), path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      if (named) throw new Error(`GANTRY_CLIENT_CONFIG names ${path}, and there is no such file`, { cause: error })
    }
  }
  return settingsSchema.parse({})
}

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

const NOTHING_SAID: RegistrySettings = { mirrors: [], plainHttp: false, insecureTls: false }

export const settingsOf = (settings: Settings, registry: string): RegistrySettings =>
  settings.registries[registry] ?? NOTHING_SAID
