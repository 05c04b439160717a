/** The verb `policy` of the operator's command line. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { parseRepositoryName } from '../storage/model/reference.ts'
import { Htpasswd } from './access/htpasswd.ts'
import { ANONYMOUS, accountOfLogin, type Identity, printSubject } from './access/identity.ts'
import { ACTIONS, type Action, decide, explain } from './access/policy.ts'
import { robotId, userId, withRecords } from './account-tasks.ts'
import { asJson, type CliParts, collect, type ListFlags, say } from './cli-accounts.ts'
import { policyOf } from './config/access.ts'
import type { Config } from './config/schema.ts'

function parseAction(text: string): Action {
  const action = ACTIONS.find((each) => each === text)
  if (action !== undefined) return action
  throw new InvalidArgumentError(`expected one of ${ACTIONS.join(', ')}`)
}

export function addPolicyVerbs(program: Command, { withKeys, configOf }: CliParts): void {
  withKeys(program.command('policy').description('Who may do what.').command('explain'))
    .argument('<who>', 'a user, robot+NAME, oidc:NAME, cert:NAME or anonymous')
    .argument('<action>', ACTIONS.join(', '), parseAction)
    .argument('<repository>', 'such as team-a/app')
    .description('Say whether somebody may do something, and by which rule.')
    .addOption(
      new Option('--claim <name=value>', 'what the issuer of an oidc or cert identity says; may be repeated').argParser(
        collect,
      ),
    )
    .addOption(asJson())
    .action(async (who: string, action: Action, repository: string, flags: ExplainFlags) => {
      const config = await configOf(flags)
      const policy = policyOf(config)
      const name = parseRepositoryName(repository)
      const { identity, missing } = await identityOf(config, who, flags.claim ?? [])
      const subject = printSubject(identity)
      const decision = decide(policy, identity, action, name)
      if (flags.json) {
        const rule = typeof decision.by === 'number' ? { by: 'rule', rule: decision.by + 1 } : { by: decision.by }
        const allowed = decision.allowed && missing === undefined
        return say(JSON.stringify({ subject, action, repository: name, allowed, ...rule, missing }))
      }
      say(explain(policy, subject, action, name, decision))
      if (missing !== undefined) say(`but ${missing}`)
    })
}

interface ExplainFlags extends ListFlags {
  readonly claim?: readonly string[]
}

/** `missing`: why they cannot come in at all, whatever the rules say, and what would help. */
async function identityOf(
  config: Config,
  who: string,
  claims: readonly string[],
): Promise<{ readonly identity: Identity; readonly missing?: string }> {
  if (who === 'anonymous') return { identity: ANONYMOUS }
  const [, issued, issuedName = ''] = /^(oidc|cert):(.*)$/s.exec(who) ?? []
  if (issued !== undefined) {
    const given = claims.map((claim): [string, string] => [
      claim.split('=')[0] ?? '',
      claim.split('=').slice(1).join('='),
    ])
    const kind = issued as 'oidc' | 'cert'
    return { identity: { ...ANONYMOUS, kind, name: issuedName, claims: Object.fromEntries(given) } }
  }
  const { kind, name } = accountOfLogin(who)
  const account = await withRecords(config, ({ accounts }) =>
    accounts.find(kind === 'user' ? userId(name) : robotId(name)),
  )
  const identity = { ...ANONYMOUS, kind, name, groups: account?.groups ?? [], grants: account?.grants ?? [] }
  const isListed = account !== undefined || (kind === 'user' && (await isInHtpasswd(config, name)))
  if (!isListed) {
    return { identity, missing: `there is no ${kind} ${name}: \`gantry ${kind} ${ADDED_BY[kind]} ${name}\` makes one` }
  }
  if (account?.enabled === false) {
    return { identity, missing: `${who} is disabled, and may do nothing until \`gantry ${kind} enable ${name}\`` }
  }
  return { identity }
}

const ADDED_BY = { user: 'add', robot: 'create' } as const

async function isInHtpasswd({ accounts: { htpasswd } }: Config, name: string): Promise<boolean> {
  if (htpasswd === 'off') return false
  const complain = (problem: string): void => void process.stderr.write(`${problem}\n`)
  return (await new Htpasswd(htpasswd, complain).find(name)) !== undefined
}
