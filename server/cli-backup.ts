/** The verb `storage backup` of the operator's command line. */
import { type Command, Option } from 'commander'
import { type BackupCounts, backUp } from '../storage/backup.ts'
import type { CliParts } from './cli-accounts.ts'
import type { Config } from './config/schema.ts'
import { type ForeignBucket, isPlaceOf, openBackupPlace } from './foreign-place.ts'
import { withStore } from './operator-store.ts'
import { CannotServe } from './reasons.ts'
import { printBytes, StatusLine } from './terminal-lines.ts'

const BACKUP_HELP = `
DEST is a folder or s3://BUCKET/PREFIX (credentials come from where the AWS tools find them). What is in it afterwards is a
store like the one that was copied, with accounts and keys: start a registry on it, or back it up to where it shall be.

  $ gantry storage backup /mnt/backup/registry
  $ gantry serve --data /mnt/backup/registry        # to restore

The registry may be running: everything that was acknowledged before the backup began is in it, whole. Uploads that are under
way are not. A second backup to the same place copies what is new, and takes away what is gone.
`

interface BackupFlags extends Record<string, unknown> {
  readonly json?: boolean
  readonly destEndpoint?: string
  readonly destRegion?: string
}

const say = (line: string): void => void process.stdout.write(`${line}\n`)

export function addBackupVerb(storage: Command, { withKeys, configOf }: CliParts): void {
  withKeys(storage.command('backup <dest>'))
    .description('Copy the store to another place, beside a registry that is running.')
    .addHelpText('after', BACKUP_HELP)
    .addOption(new Option('--dest-endpoint <url>', 'the S3 server of the destination; without it, AWS'))
    .addOption(new Option('--dest-region <region>', 'the region of the destination'))
    .addOption(new Option('--json', 'JSON for machines, one object a line'))
    .action(async (dest: string, flags: BackupFlags) => await backUpTo(dest, await configOf(flags), flags))
}

async function backUpTo(dest: string, config: Config, flags: BackupFlags): Promise<void> {
  const bucket: ForeignBucket = { endpoint: flags.destEndpoint, region: flags.destRegion }
  if (isPlaceOf(config, dest, bucket))
    throw new CannotServe(`${dest} is where the registry itself is: expected another place`)
  using status = new StatusLine()
  let problems = 0
  await withStore(config, async ({ driver }) => {
    const to = await openBackupPlace(dest, bucket)
    try {
      const copied = await backUp(driver, to, {
        onProgress: (counts) => status.show(`copied ${printCounts(counts)}`),
        onProblem: ({ repository, what, says }) => {
          problems += 1
          status.clear()
          if (flags.json) say(JSON.stringify({ problem: 'damaged', repository, what, says }))
          else process.stderr.write(`${repository === undefined ? '' : `${repository}: `}${what}: ${says}\n`)
        },
      })
      status.clear()
      if (flags.json) say(JSON.stringify({ copied, problems }))
      else say(`copied ${printCounts(copied)} to ${dest}, which had the rest`)
    } finally {
      await to.close()
    }
  })
  if (problems > 0)
    throw new CannotServe(
      `${problems === 1 ? '1 thing is' : `${problems} things are`} damaged here and could not be copied; everything else was`,
    )
}

const printCounts = ({ tags, manifests, blobs, bytes }: BackupCounts): string =>
  `${tags} tags, ${manifests} manifests, ${blobs} blobs (${printBytes(bytes)})`
