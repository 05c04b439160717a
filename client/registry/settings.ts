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
import type { Environment } from './credentials.ts'
import type { RegistrySettings, Settings } from './settings-file.ts'

/** The file that was named must be there; the others need not. */
export async function readSettings(environment: Environment): Promise<Settings> {
  const named = environment['GANTRY_CLIENT_CONFIG']
  const config = environment['XDG_CONFIG_HOME'] || join(environment['HOME'] || homedir(), '.config')
  for (const path of named ? [named] : [join(config, 'gantry', 'client.yaml'), '/etc/gantry/client.yaml']) {
    try {
      const text = await readFile(path, 'utf8')
      return (await import('./settings-file.ts')).parseSettings(text, path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      if (named) throw new Error(`GANTRY_CLIENT_CONFIG names ${path}, and there is no such file`, { cause: error })
    }
  }
  return { registries: {} }
}

const NOTHING_SAID: RegistrySettings = { mirrors: [], plainHttp: false, insecureTls: false }

export const settingsOf = (settings: Settings, registry: string): RegistrySettings =>
  settings.registries[registry] ?? NOTHING_SAID
