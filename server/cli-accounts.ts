/** The verbs `user`, `robot` and `keys` of the operator's command line. */
import type { KeyObject } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { ACTIONS, type Action, isRepositoryPattern } from './access/policy.ts'
import { ALGORITHMS, generateSigningKey, parseSigningKey, type TokenAlgorithm } from './access/token-keys.ts'
import {
  accountAsJson,
  addUser,
  changePassword,
  createRobot,
  listAccounts,
  printAccount,
  robotId,
  rotateKeys,
  rotateRobot,
  setEnabled,
  setGroups,
  userId,
  withRecords,
} from './account-tasks.ts'
import { secretOf } from './config/access.ts'
import type { Config } from './config/schema.ts'
import { askPassword } from './password-prompt.ts'
import { CannotServe, reason } from './reasons.ts'

export interface CliParts {
  /** Adds the flags of the configuration. */
  withKeys(command: Command): Command
  /** Of all flags of the command. */
  configOf(flags: Readonly<Record<string, unknown>>): Promise<Config>
}

const USER_HELP = `
Users log in with \`docker login\`. The first one makes the registry ask everybody for credentials, once it is started again:

  $ gantry user add alice --group team-a
  Password:
  Again:
`
const ROBOT_HELP = `
A robot is for a pipeline. Its name is written robot+NAME where a user name is asked for; its secret is shown once.

  $ gantry robot create ci --repo 'team/*' --actions pull,push --expires 90d
`

export const asJson = (): Option => new Option('--json', 'JSON for machines, one object a line')

export interface ListFlags extends Record<string, unknown> {
  readonly json?: boolean
}

export const say = (line: string): void => void process.stdout.write(`${line}\n`)

const DAY_MS = 24 * 60 * 60 * 1000
const UNITS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: DAY_MS }

function parsePeriod(text: string): number {
  const [, digits, unit = ''] = /^([0-9]{1,5})([mhd])$/.exec(text) ?? []
  if (digits === undefined) throw new InvalidArgumentError('expected a period such as 30m, 12h or 90d')
  return Number(digits) * (UNITS[unit] ?? 0)
}

function parseActions(text: string): readonly Action[] {
  const actions = text.split(',') as Action[]
  if (actions.every((action) => ACTIONS.includes(action))) return actions
  throw new InvalidArgumentError(`expected some of ${ACTIONS.join(', ')}, separated by commas`)
}

function parsePattern(text: string, before: readonly string[] = []): readonly string[] {
  if (!isRepositoryPattern(text)) throw new InvalidArgumentError("expected a pattern such as 'team/*'")
  return [...before, text]
}

export const collect = (text: string, before: readonly string[] = []): readonly string[] => [...before, text]
const after = (ms: number | undefined): Date | undefined => (ms === undefined ? undefined : new Date(Date.now() + ms))

export function addAccountVerbs(program: Command, parts: CliParts): void {
  addUserVerbs(program.command('user').description('Who may log in.').addHelpText('after', USER_HELP), parts)
  addRobotVerbs(program.command('robot').description('Accounts of pipelines.').addHelpText('after', ROBOT_HELP), parts)
  addKeyVerbs(program.command('keys').description('The keys that sign tokens.'), parts)
}

interface PasswordFlags extends Record<string, unknown> {
  readonly passwordStdin?: boolean
  readonly group?: readonly string[]
}

function addUserVerbs(user: Command, { withKeys, configOf }: CliParts): void {
  const fromStdin = (): Option => new Option('--password-stdin', 'take the password from standard input')
  withKeys(user.command('add <name>'))
    .description('Add a user.')
    .addOption(fromStdin())
    .addOption(new Option('--group <name>', 'a group that the user is in; may be repeated').argParser(collect))
    .action(async (name: string, flags: PasswordFlags) => {
      const config = await configOf(flags)
      const password = await askPassword(flags.passwordStdin === true)
      await withRecords(config, (records) => addUser(records, userId(name), password, flags.group ?? []))
      say(`the user ${name} may log in; a registry that runs without accounts has to be started again`)
    })
  withKeys(user.command('passwd <name>'))
    .description('Change a password. Whoever is logged in with the old one is logged out.')
    .addOption(fromStdin())
    .action(async (name: string, flags: PasswordFlags) => {
      const config = await configOf(flags)
      const password = await askPassword(flags.passwordStdin === true)
      await withRecords(config, (records) => changePassword(records, userId(name), password))
      say(`the password of ${name} is changed`)
    })
  withKeys(user.command('groups <name> [groups...]'))
    .description('Put a user into these groups and no others; without any, into none. It counts within seconds.')
    .action(async (name: string, groups: readonly string[], flags) => {
      const config = await configOf(flags)
      await withRecords(config, (records) => setGroups(records, userId(name), groups))
      say(`${name} is in ${groups.length === 0 ? 'no group' : groups.join(', ')}`)
    })
  addSwitches(user, userId, { withKeys, configOf })
}

function addSwitches(command: Command, idOf: typeof userId, { withKeys, configOf }: CliParts): void {
  const kind = command.name() as 'user' | 'robot'
  for (const [verb, enabled] of [
    ['disable', false],
    ['enable', true],
  ] as const) {
    withKeys(command.command(`${verb} <name>`))
      .description(enabled ? 'Let it in again.' : 'Let it in no more, its tokens included, within seconds.')
      .action(async (name: string, flags) => {
        const config = await configOf(flags)
        await withRecords(config, (records) => setEnabled(records, idOf(name), enabled))
        say(`the ${kind} ${name} is ${verb}d`)
      })
  }
  withKeys(command.command('list'))
    .description('List them, a line each.')
    .addOption(asJson())
    .action(async (flags: ListFlags) => {
      const config = await configOf(flags)
      const accounts = await withRecords(config, (records) => listAccounts(records, kind))
      for (const account of accounts) say(flags.json ? accountAsJson(account) : printAccount(account))
    })
}

interface RobotFlags extends Record<string, unknown> {
  readonly repo: readonly string[]
  readonly actions: readonly Action[]
  readonly expires?: number
  readonly overlap: number
}

function addRobotVerbs(robot: Command, { withKeys, configOf }: CliParts): void {
  const expires = (): Option =>
    new Option('--expires <period>', 'its secret is good this long, such as 90d').argParser(parsePeriod)
  withKeys(robot.command('create <name>'))
    .description('Make a robot, and show its secret once.')
    .addOption(
      new Option('--repo <pattern>', 'where it may; may be repeated').argParser(parsePattern).makeOptionMandatory(),
    )
    .addOption(new Option('--actions <list>', 'what it may').argParser(parseActions).makeOptionMandatory())
    .addOption(expires())
    .action(async (name: string, flags: RobotFlags) => {
      const config = await configOf(flags)
      const grants = flags.repo.map((repositories) => ({ repositories, actions: flags.actions }))
      const secret = await withRecords(config, (records) =>
        createRobot(records, robotId(name), grants, after(flags.expires)),
      )
      showSecret(name, secret)
    })
  withKeys(robot.command('rotate <name>'))
    .description('Give a robot a new secret, and show it once; the old one is good for a while.')
    .addOption(new Option('--overlap <period>', 'so long').argParser(parsePeriod).default(DAY_MS, '1d'))
    .addOption(expires())
    .action(async (name: string, flags: RobotFlags) => {
      const config = await configOf(flags)
      const secret = await withRecords(config, (records) =>
        rotateRobot(records, robotId(name), flags.overlap, after(flags.expires)),
      )
      showSecret(name, secret)
    })
  addSwitches(robot, robotId, { withKeys, configOf })
}

/** The secret alone on standard output, so that a script can take it. */
function showSecret(name: string, secret: string): void {
  process.stderr.write(`robot+${name} logs in with this secret, which is not shown again:\n`)
  say(secret)
}

interface KeyFlags extends Record<string, unknown> {
  readonly algorithm: TokenAlgorithm
  readonly import?: string
}

async function importedKey(file: string): Promise<KeyObject> {
  try {
    return parseSigningKey(await readFile(file, 'utf8'))
  } catch (cause) {
    throw new CannotServe(`cannot sign with ${file}: ${reason(cause)}`, { cause })
  }
}

function addKeyVerbs(keys: Command, { withKeys, configOf }: CliParts): void {
  withKeys(keys.command('list'))
    .description('List them, a line each.')
    .addOption(asJson())
    .action(async (flags: ListFlags) => {
      const config = await configOf(flags)
      const all = await withRecords(config, (records) => records.keys.all())
      for (const { kid, algorithm, signsFrom, revokedAt } of all) {
        if (flags.json) say(JSON.stringify({ kid, algorithm, signsFrom, revokedAt }))
        else
          say(
            [
              kid,
              algorithm,
              `signs from ${signsFrom}`,
              ...(revokedAt === undefined ? [] : [`revoked ${revokedAt}`]),
            ].join('  '),
          )
      }
    })
  withKeys(keys.command('rotate'))
    .description('Make a new key, or take one that is there. It signs in a minute; tokens of the old ones stay good.')
    .addOption(new Option('--algorithm <name>', 'of the new key').choices(ALGORITHMS).default('ES256'))
    .addOption(
      new Option('--import <file>', 'a private key in PEM: on P-256, or RSA with 2048 bits or more').conflicts(
        'algorithm',
      ),
    )
    .action(async (flags: KeyFlags) => {
      const config = await configOf(flags)
      const key = flags.import === undefined ? generateSigningKey(flags.algorithm) : await importedKey(flags.import)
      say(await withRecords(config, (records) => rotateKeys(records, secretOf(config), key)))
    })
  withKeys(keys.command('revoke <kid>'))
    .description('Believe a key no more, within half a minute: whoever has a token of it is logged out.')
    .action(async (kid: string, flags) => {
      const config = await configOf(flags)
      const revoked = await withRecords(config, (records) => records.keys.revoke(kid, new Date()))
      say(revoked ? `${kid} is revoked` : `there is no key ${kid}`)
    })
}
