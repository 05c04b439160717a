/** What `gantry serve` is told by flags and environment, checked in one go: every problem is named, not only the first. */
import { isIP } from 'node:net'
import { resolve } from 'node:path'
import { REFERENCE_POLICIES, type ReferencePolicy } from '../storage/repository.ts'

export interface ServeSettings {
  readonly host: string
  /** 0: the system chooses. */
  readonly port: number
  /** Absolute. */
  readonly dataDirectory: string
  /** After a stop signal, the time until connections are cut. */
  readonly graceMs: number
  readonly references: ReferencePolicy
}

/** As the command line gives them: absent means not given. */
export interface ServeFlags {
  readonly listen?: string | undefined
  readonly data?: string | undefined
  readonly stopTimeout?: string | undefined
  readonly allowAnonymous?: boolean | undefined
  readonly references?: string | undefined
}

export class SettingsInvalid extends Error {
  override readonly name = 'SettingsInvalid'
}

export const DEFAULT_LISTEN = '127.0.0.1:5000'
export const DEFAULT_DATA = './gantry-data'
export const DEFAULT_REFERENCES: ReferencePolicy = 'sparse-index'
export const DEFAULT_STOP_TIMEOUT_SECONDS = '10'

/** Flags win over the environment. Throws `SettingsInvalid` with one line per problem. */
export function readServeSettings(flags: ServeFlags, env: Readonly<Record<string, string | undefined>>): ServeSettings {
  const problems: string[] = []
  const listen = given(['--listen', flags.listen], ['GANTRY_LISTEN', env['GANTRY_LISTEN']]) ?? {
    name: 'default',
    value: DEFAULT_LISTEN,
  }
  const address = parseListen(listen.value)
  if (!address) {
    problems.push(
      `${listen.name}: "${listen.value}" is not an address; expected HOST:PORT such as ${DEFAULT_LISTEN} or [::1]:5000, PORT from 0 to 65535`,
    )
  } else if (!isLoopback(address.host) && flags.allowAnonymous !== true) {
    problems.push(
      `${listen.name}: ${listen.value} can be reached from other machines, and this registry has no accounts: everyone could push and delete. ` +
        'Listen on 127.0.0.1, or accept that with --allow-anonymous',
    )
  }

  const data = given(['--data', flags.data], ['GANTRY_DATA', env['GANTRY_DATA']]) ?? {
    name: 'default',
    value: DEFAULT_DATA,
  }
  if (data.value === '' || data.value.includes('\0'))
    problems.push(`${data.name}: expected the path of a directory, not "${data.value}"`)

  const references = given(['--references', flags.references], ['GANTRY_REFERENCES', env['GANTRY_REFERENCES']]) ?? {
    name: 'default',
    value: DEFAULT_REFERENCES,
  }
  const policy = REFERENCE_POLICIES.find((known) => known === references.value)
  if (!policy) {
    problems.push(`${references.name}: "${references.value}" is no policy; expected ${REFERENCE_POLICIES.join(', ')}`)
  }

  const stopTimeout = flags.stopTimeout ?? DEFAULT_STOP_TIMEOUT_SECONDS
  if (!/^[0-9]{1,5}$/.test(stopTimeout))
    problems.push(`--stop-timeout: "${stopTimeout}" is not a number of seconds; expected 0 to 99999`)

  if (problems.length > 0 || !address || !policy) throw new SettingsInvalid(problems.join('\n'))
  return { ...address, dataDirectory: resolve(data.value), graceMs: Number(stopTimeout) * 1000, references: policy }
}

type Source = readonly [name: string, value: string | undefined]

/** An empty variable counts as not given, as in most programs; an empty flag is a mistake. */
function given(flag: Source, variable: Source): { readonly name: string; readonly value: string } | undefined {
  if (flag[1] !== undefined) return { name: flag[0], value: flag[1] }
  return variable[1] ? { name: variable[0], value: variable[1] } : undefined
}

function parseListen(text: string): { readonly host: string; readonly port: number } | undefined {
  const [, bracketed, plain, digits = ''] = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})$/.exec(text) ?? []
  const host = bracketed ?? plain
  const port = Number(digits)
  if (host === undefined || port > 65_535 || (bracketed !== undefined && isIP(bracketed) !== 6)) return undefined
  return { host, port }
}

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
