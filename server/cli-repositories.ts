/** The verb `repo` of the operator's command line. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { Catalog } from '../storage/catalog.ts'
import { countRepository } from '../storage/census.ts'
import { deleteRepository } from '../storage/deletion.ts'
import { parseRepositoryName, type RepositoryName } from '../storage/model/reference.ts'
import type { CliParts } from './cli-accounts.ts'
import { lineOfDamagedRecord } from './integrity.ts'
import { type OpenStore, withStore } from './operator-store.ts'
import { confirmTyped, StatusLine } from './terminal-lines.ts'

const DELETE_HELP = `
Works beside a running registry. From its first moment on the repository is not listed any more, and whatever is pushed
meanwhile either stays whole or is refused. Interrupted, it is finished by giving the command again; what was pushed to
the repository in between stays then. Only what is visible goes: the bytes stay where they are until garbage is collected.

  $ gantry repo delete team/old-app
  Delete team/old-app with 12 tags and 30 manifests? Type its name: team/old-app
  team/old-app is gone: 12 tags, 30 manifests, links to 84 blobs
`

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const asJson = (): Option => new Option('--json', 'JSON for machines, one object a line')

function parseLimit(text: string): number {
  if (/^[1-9][0-9]{0,8}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('expected a number from 1 on')
}

interface ListFlags extends Record<string, unknown> {
  readonly json?: boolean
  readonly after?: string
  readonly limit?: number
}

interface DeleteFlags extends Record<string, unknown> {
  readonly json?: boolean
  readonly yes?: boolean
}

export function addRepositoryVerbs(program: Command, { withKeys, configOf }: CliParts): void {
  const repo = program.command('repo').description('The repositories of the registry.')
  withKeys(repo.command('list'))
    .description('List the repositories with what is in them, in byte order, as they are found.')
    .addOption(new Option('--after <name>', 'begin behind this name'))
    .addOption(new Option('--limit <number>', 'list so many at most').argParser(parseLimit))
    .addOption(asJson())
    .action(async (flags: ListFlags) => await withStore(await configOf(flags), (open) => list(open, flags)))
  withKeys(repo.command('delete <name>'))
    .description('Delete a repository: tags, manifests, and the right to its blobs.')
    .addHelpText('after', DELETE_HELP)
    .addOption(new Option('--yes', 'do not ask'))
    .addOption(asJson())
    .action(async (text: string, flags: DeleteFlags) => {
      const name = parseRepositoryName(text)
      await withStore(await configOf(flags), (open) => remove(open, name, flags))
    })
}

async function list({ driver, store }: OpenStore, { json, after, limit }: ListFlags): Promise<void> {
  const page = { ...(after === undefined ? {} : { last: after }), ...(limit === undefined ? {} : { limit }) }
  if (!json) say(`${'REPOSITORY'.padEnd(48)} ${'TAGS'.padStart(9)} ${'MANIFESTS'.padStart(9)}`)
  for await (const name of store.listRepositories(page)) {
    const { tags, manifests } = await countRepository(driver, name)
    if (json) say(JSON.stringify({ repository: name, tags, manifests }))
    else say(`${name.padEnd(48)} ${String(tags).padStart(9)} ${String(manifests).padStart(9)}`)
  }
  const catalog = new Catalog(driver, (damage) => process.stderr.write(`${lineOfDamagedRecord(damage)}\n`))
  for await (const name of catalog.listCleaning()) {
    process.stderr.write(
      `${name} is being deleted, or that was interrupted: \`gantry repo delete ${name}\` finishes it\n`,
    )
  }
}

async function remove({ driver }: OpenStore, name: RepositoryName, { json, yes }: DeleteFlags): Promise<void> {
  if (!yes) {
    const { tags, manifests } = await countRepository(driver, name)
    await confirmTyped(`Delete ${name} with ${tags} tags and ${manifests} manifests? Type its name: `, name)
  }
  using status = new StatusLine()
  const { resumed, tags, manifests, blobs } = await deleteRepository(driver, name, (counts) => {
    status.show(`${name}: ${counts.tags} tags, ${counts.manifests} manifests, links to ${counts.blobs} blobs are gone`)
  })
  status.clear()
  if (json) return say(JSON.stringify({ repository: name, tags, manifests, blobs, resumed }))
  say(`${name} is gone: ${tags} tags, ${manifests} manifests, links to ${blobs} blobs`)
  if (resumed) say('this finished a deletion that had been interrupted; what was pushed since then stays')
  say('the bytes stay stored until garbage is collected')
}
