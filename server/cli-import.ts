/** The verb `import` of the operator's command line. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { DistributionTree } from '../storage/import/distribution.ts'
import { type ImportCounts, importTree, type Problem } from '../storage/import/import.ts'
import { type Comparison, compareTree, surveyTree } from '../storage/import/survey.ts'
import type { RepositoryName } from '../storage/model/reference.ts'
import { matchesGlob } from './access/glob.ts'
import type { CliParts } from './cli-accounts.ts'
import { openForeignTree } from './foreign-place.ts'
import { type OpenStore, withStore } from './operator-store.ts'
import { CannotServe } from './reasons.ts'
import { printBytes, StatusLine } from './terminal-lines.ts'

const IMPORT_HELP = `
SOURCE is what the old registry has as its rootdirectory: a folder, or s3://BUCKET/PREFIX (credentials come from where the
AWS tools find them). The target is what the other flags, the file and the variables say, as for \`gantry serve\`.

  $ gantry import distribution /var/lib/docker-registry --dry-run
  $ gantry import distribution /var/lib/docker-registry
  $ gantry import distribution s3://old-images/registry --storage s3 --config gantry.yaml

The old tree is only read; every blob is hashed on its way. Killed, or repeated, it brings what is not here yet, also beside a
running gantry: a tag that was pushed here since is left alone. At the end everything is compared. What is broken in the
old tree is named and left out, and the exit code is 1 then.
`

const say = (line: string): void => void process.stdout.write(`${line}\n`)

interface ImportFlags extends Record<string, unknown> {
  readonly repo?: readonly string[]
  readonly dryRun?: boolean
  readonly json?: boolean
  readonly jobs: number
  readonly sourceEndpoint?: string
  readonly sourceRegion?: string
}

function parseJobs(text: string): number {
  if (/^[1-9][0-9]?$/.test(text)) return Number(text)
  throw new InvalidArgumentError('expected a number from 1 to 99')
}

const collect = (text: string, before: readonly string[] = []): readonly string[] => [...before, text]

export function addImportVerb(program: Command, { withKeys, configOf }: CliParts): void {
  const verb = program.command('import').description('Take over what another registry has stored.')
  withKeys(verb.command('distribution <source>'))
    .description('Import the tree of distribution or docker-registry (2.x, 3.x), from a folder or a bucket.')
    .addHelpText('after', IMPORT_HELP)
    .addOption(new Option('--repo <pattern>', "only repositories such as 'team/*'; may be repeated").argParser(collect))
    .addOption(new Option('--dry-run', 'say what there is, and change nothing'))
    .addOption(new Option('--jobs <number>', 'blobs that are copied at the same time').default(4).argParser(parseJobs))
    .addOption(new Option('--source-endpoint <url>', 'the S3 server of the source; without it, AWS'))
    .addOption(new Option('--source-region <region>', 'the region of the source'))
    .addOption(new Option('--json', 'JSON for machines, one object a line'))
    .action(async (source: string, flags: ImportFlags) => {
      const { sourceEndpoint: endpoint, sourceRegion: region } = flags
      const files = await openForeignTree(source, { endpoint, region })
      try {
        const tree = await DistributionTree.find(files)
        if (!tree) {
          throw new CannotServe(
            `${source} holds no registry: expected docker/registry/v2/repositories in it, the rootdirectory of the old registry`,
          )
        }
        const config = await configOf(flags)
        if (flags.dryRun) await survey(tree, flags)
        else await withStore(config, (open) => bring(tree, open, flags), { references: 'sparse' })
      } finally {
        files.close()
      }
    })
}

const wantedBy =
  ({ repo }: ImportFlags) =>
  (name: RepositoryName): boolean =>
    repo === undefined || repo.some((pattern) => matchesGlob(pattern, name))

/** As many as fit; of more it may be said twice. */
const REMEMBERED_PROBLEMS = 10_000

/** Says each problem once, as it is found. */
class Problems {
  readonly #said = new Set<string>()
  readonly #status: StatusLine
  readonly #json: boolean
  count = 0

  constructor(status: StatusLine, json = false) {
    this.#status = status
    this.#json = json
  }

  readonly report = (problem: Problem): void => {
    const { kind, repository, what, says } = problem
    const name = `${repository} ${what}`
    if (this.#said.has(name)) return
    if (this.#said.size < REMEMBERED_PROBLEMS) this.#said.add(name)
    this.count += 1
    this.#status.clear()
    if (this.#json) say(JSON.stringify({ problem: kind, repository, what, says }))
    else process.stderr.write(`${repository === undefined ? '' : `${repository}: `}${NAMES[kind]} ${what}: ${says}\n`)
  }

  /** Throws `CannotServe` if there were some. */
  demandNone(): void {
    if (this.count === 0) return
    throw new CannotServe(
      `${this.count === 1 ? '1 thing was' : `${this.count} things were`} left out; everything else is here`,
    )
  }
}

const NAMES = { link: 'link', blob: 'blob', manifest: 'manifest', schema1: 'manifest', tag: 'tag' } as const

async function survey(tree: DistributionTree, flags: ImportFlags): Promise<void> {
  using status = new StatusLine()
  const problems = new Problems(status, flags.json)
  const found = await surveyTree(tree, { wants: wantedBy(flags), onProblem: problems.report })
  if (flags.json) say(JSON.stringify({ found, problems: problems.count }))
  else {
    const { repositories, tags, manifests, blobs, bytes } = found
    say(
      `${repositories} repositories with ${tags} tags, ${manifests} manifests and ${blobs} blobs of ${printBytes(bytes)}`,
    )
    say('nothing was changed; of these an import brings what is not here yet, shared blobs once')
  }
  problems.demandNone()
}

async function bring(tree: DistributionTree, { driver, store }: OpenStore, flags: ImportFlags): Promise<void> {
  using status = new StatusLine()
  const problems = new Problems(status, flags.json)
  const common = { wants: wantedBy(flags), onProblem: problems.report }
  const imported = await importTree(
    { tree, driver, store },
    {
      ...common,
      blobsAtOnce: flags.jobs,
      onProgress: (counts, name) => status.show(`${printCounts(counts)}: ${name}`),
    },
  )
  status.clear()
  if (!flags.json) say(`imported ${printCounts(imported)}; ${imported.there} were here already`)
  status.show('comparing with the old registry')
  const compared = await compareTree(tree, store, common)
  status.clear()
  if (flags.json) say(JSON.stringify({ imported, compared, problems: problems.count }))
  else say(`compared with the old registry: ${printComparison(compared)}`)
  problems.demandNone()
}

const printCounts = ({ repositories, tags, manifests, blobs, bytes }: ImportCounts): string =>
  `${repositories} repositories, ${tags} tags, ${manifests} manifests, ${blobs} blobs (${printBytes(bytes)} copied)`

const printComparison = (compared: Comparison): string =>
  (['tags', 'manifests', 'blobs'] as const)
    .map((what) => `${compared[what].same} of ${compared[what].all} ${what} are the same`)
    .join(', ')
