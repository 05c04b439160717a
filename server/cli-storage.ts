/** `gantry storage …`: a look at where the registry keeps its content. */
import { type Command, Option } from 'commander'
import { demandStore } from '../storage/format.ts'
import { type Pass, PassTaken, runPass } from '../storage/scrub.ts'
import type { CliParts } from './cli-accounts.ts'
import { addBackupVerb } from './cli-backup.ts'
import type { Config } from './config/schema.ts'
import { size } from './config/values.ts'
import { factsOf } from './integrity.ts'
import { CannotServe, reason } from './reasons.ts'
import { openDriver, placeOf, probe } from './storage-place.ts'

const PROBE_HELP = `
With the same flags and variables as \`gantry serve\`:

  $ GANTRY_S3_BUCKET=images GANTRY_S3_ENDPOINT=https://s3.example.com:9000 gantry storage probe --storage s3
`

const VERIFY_HELP = `
With the same flags and variables as \`gantry serve\`, which may be running meanwhile:

  $ gantry storage verify --data /srv/registry --rate 100MiB

Every blob, manifest and record is read from where it lies, and hashed. A damaged blob is set aside (on a disk below quarantine/, from where
it can be put back; in a bucket as a state of its record) and is unknown from then on: whoever pushes it again repairs it. So is a
damaged manifest, which stays in its place, and of a damaged record it is said what repairs it. A run that was stopped, or killed, goes on where it was when the same command runs again.
The exit code is 0 only if everything was read and nothing is damaged.
`

const MIB = 2 ** 20
const SAY_EVERY_MS = 1_000

interface VerifyFlags {
  readonly rate?: number
  readonly restart?: boolean
  readonly json?: boolean
}

export function addStorageVerbs(program: Command, parts: CliParts): void {
  const { withKeys, configOf } = parts
  const storage = program.command('storage').description('Look at where the registry keeps its content.')
  withKeys(storage.command('probe'))
    .description(
      'Try out what the bucket (or the folder) can do, and say what that means. Exit code 1 if it cannot be used.',
    )
    .addHelpText('after', PROBE_HELP)
    .action(async (flags: Readonly<Record<string, unknown>>) => {
      const { lines, usable } = await probe(await configOf(flags))
      process.stdout.write(`${lines.join('\n')}\n`)
      if (!usable) throw new CannotServe('this storage cannot be used')
    })
  withKeys(storage.command('verify'))
    .description('Read everything that is stored, and set aside what a disk has damaged.')
    .addOption(new Option('--rate <size>', 'read at most so many bytes a second, such as 100MiB').argParser(rateOf))
    .option('--restart', 'begin at the beginning, although an earlier run was stopped half-way')
    .option('--json', 'one line of JSON for each thing that happens')
    .addHelpText('after', VERIFY_HELP)
    .action(
      async (flags: Readonly<Record<string, unknown>>) => await verify(await configOf(flags), flags as VerifyFlags),
    )
  addBackupVerb(storage, parts)
}

function rateOf(text: string): number {
  const rate = size(1_024, 1024 * 1024 * MIB).safeParse(text)
  if (rate.success) return rate.data
  throw new CannotServe(`--rate ${text}: expected a size of at least 1KiB, such as 100MiB`)
}

async function verify(config: Config, { rate, restart = false, json = false }: VerifyFlags): Promise<void> {
  const stop = new AbortController()
  const onSignal = (): void => stop.abort()
  process.once('SIGTERM', onSignal).once('SIGINT', onSignal)
  const say = json ? sayJson : process.stderr.isTTY ? sayToTerminal : sayLines
  let saidAt = performance.now()
  const driver = await openDriver({ ...config, readonly: true }, 1).catch((cause: unknown) => {
    throw new CannotServe(`cannot read ${placeOf(config)}: ${reason(cause)}`, { cause })
  })
  try {
    await demandStore(driver)
    const pass = await runPass(driver, 'demand', {
      restart,
      signal: stop.signal,
      ...(rate === undefined ? {} : { bytesPerSecond: rate }),
      onBegin: (pass) => say({ event: 'begin', ...pass }),
      onDamage: (damage) => say({ event: 'damaged', ...factsOf(damage) }),
      onProgress(now) {
        if (performance.now() - saidAt < SAY_EVERY_MS) return
        saidAt = performance.now()
        say({ event: 'progress', ...now })
      },
    })
    say({ event: 'end', ...pass })
    if (pass.damaged > 0)
      throw new CannotServe(`${pass.damaged} of ${pass.blobs + pass.manifests + pass.records} are damaged`)
  } catch (error) {
    if (error instanceof PassTaken) throw new CannotServe(error.message, { cause: error })
    if (!stop.signal.aborted) throw error
    throw new CannotServe('stopped; the same command goes on from here', { cause: error })
  } finally {
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal)
    await driver.close()
  }
}

type Event = { readonly event: 'begin' | 'damaged' | 'progress' | 'end'; readonly [field: string]: unknown }

const sayJson = (event: Event): void => void process.stdout.write(`${JSON.stringify(event)}\n`)

/** Damage is what the command is about; how far it is belongs to whoever looks at the terminal. */
function sayLines(event: Event): void {
  if (event.event === 'begin' && event['after'] === undefined) return
  if (event.event !== 'progress') process.stdout.write(`${lineOf(event)}\n`)
}

function sayToTerminal(event: Event): void {
  process.stderr.write('\r\x1b[K')
  if (event.event === 'progress' || event.event === 'begin') process.stderr.write(lineOf(event))
  else process.stdout.write(`${lineOf(event)}\n`)
}

function lineOf(event: Event): string {
  if (event.event === 'damaged') {
    if (event['kind'] === 'record') return `damaged: record ${event['record']} (${event['problem']}); ${event['heals']}`
    const { kind, repository, digest, actual, keptAt, notSetAside } = event
    if (kind === 'manifest') return `damaged: manifest ${repository}@${digest}; push it again`
    const where = keptAt === undefined ? `could not be set aside (${notSetAside})` : `now at ${keptAt}`
    return `damaged: blob ${digest}, whose bytes are ${actual}; ${where}; push it again`
  }
  const { blobs, manifests, records, bytes, damaged, after = '' } = event as unknown as Pass
  const done = `${blobs} blobs (${(bytes / MIB).toFixed(0)} MiB), ${manifests} manifests, ${records} records, ${damaged} damaged`
  if (event.event === 'begin') return `going on behind ${done} (--restart begins anew)`
  return event.event === 'end' ? `verified ${done}` : `${shareOf(after)}: ${done}`
}

/** Digests are spread evenly, so that one tells how far a pass in their order is. */
function shareOf(after: string): string {
  const [, hex = ''] = /^blobs\/sha256\/..\/([0-9a-f]{8})/.exec(after) ?? []
  if (hex === '') return after.startsWith('r/') ? 'manifests' : '0 %'
  return `${Math.floor((100 * Number.parseInt(hex, 16)) / 2 ** 32)} %`
}
