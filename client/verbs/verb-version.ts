/** `gantry version`. */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { hostPlatform } from '../model/platform.ts'
import type { CommonFlags } from './flags.ts'
import { type Output, table } from './output.ts'

export interface VersionFlags extends CommonFlags {
  readonly format?: string
}

export async function versionVerb(flags: VersionFlags, output: Output): Promise<void> {
  const versions = { gantry: await ownVersion(), runtime: await runtimeVersion(), node: process.versions.node }
  if (flags.json) return output.line(JSON.stringify(versions))
  if (flags.format !== undefined) {
    const { printDocuments } = await import('./templates/listing.ts')
    const ours = { Version: versions.gantry, Os: 'linux', Arch: hostPlatform().architecture }
    return printDocuments(
      [{ Client: ours, Server: ours, Runtime: versions.runtime, Node: versions.node }],
      flags.format,
      output,
    )
  }
  output.line(table(Object.entries(versions).map(([name, version]) => [name, version])))
}

/** `package.json` is one folder further up when we are compiled. */
export async function ownVersion(): Promise<string> {
  for (const path of ['../../package.json', '../../../package.json']) {
    const text = await readFile(new URL(path, import.meta.url), 'utf8').catch(() => undefined)
    if (text !== undefined) return (JSON.parse(text) as { readonly version: string }).version
  }
  throw new Error('package.json is missing: this installation is damaged')
}

async function runtimeVersion(): Promise<string> {
  const executable = fileURLToPath(new URL('../../native/build/gantry-runtime', import.meta.url))
  try {
    const { stdout } = await promisify(execFile)(executable, ['--version'])
    return /version (\S+)/.exec(stdout)?.[1] ?? 'unknown'
  } catch (error) {
    return `not usable (${(error as NodeJS.ErrnoException).code ?? 'failed'})`
  }
}
