/** `gantry system …`: what concerns all containers. */
import { join } from 'node:path'
import { type House, openHouse } from '../containers/house.ts'
import { RequestError } from '../containers/request-error.ts'
import { startContainer } from '../containers/start.ts'
import { containerState, isAlive } from '../containers/state.ts'
import { Images, StoreInUse } from '../images/images.ts'
import { printBytes } from '../images/progress.ts'
import { bytesOnDisk } from '../store/disk-use.ts'
import { ownIds } from '../store/own-ids.ts'
import { type Output, warningsTo } from './output.ts'
import { type ListingFlags, printListing } from './templates/listing.ts'

interface Rooted {
  readonly root: string
}

export async function cleanUpVerb(flags: Rooted, output: Output): Promise<void> {
  const { containers, volumes } = await openHouse(flags.root)
  // Who started one that was to go may hold it still when it has ended: nobody comes after us, so we wait for him.
  for (const problem of await containers.cleanUp({ waits: true })) output.note(`gantry: ${problem}`)
  await volumes.cleanUp()
}

/** Those that should run and do not: `always`, and `unless-stopped` and `on-failure` that nobody stopped. Prints their ids. */
export async function startAllVerb(flags: Rooted, output: Output): Promise<void> {
  const house = await openHouse(flags.root)
  const failures: unknown[] = []
  for (const { id, request } of await house.containers.list()) {
    const state = await containerState(house.containers.folder(id))
    const policy = request.restart?.policy ?? 'no'
    const wanted =
      policy === 'always' ||
      (policy === 'unless-stopped' && !state.stoppedByUser) ||
      (policy === 'on-failure' && !state.stoppedByUser && state.exitCode !== 0)
    if (!wanted || isAlive(state) || state.status === 'created') continue
    try {
      await using container = await house.containers.open(id)
      const connection = await startContainer(house, container, { detached: true, ...warningsTo(output) })
      await connection?.[Symbol.asyncDispose]()
      output.line(id)
    } catch (error) {
      failures.push(error)
    }
  }
  for (const problem of await house.containers.cleanUp()) output.note(`gantry: ${problem}`)
  if (failures.length > 0) throw new AggregateError(failures)
}

/** The unit's command is this one, as it was called. */
export function unitVerb({ root }: Rooted, output: Output): void {
  const command = [process.execPath, process.argv[1] ?? 'gantry', '--root', root].join(' ')
  output.line(`[Unit]
Description=Containers of Gantry (${root})
After=local-fs.target network-online.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
KillMode=none
ExecStart=${command} system start-all

[Install]
WantedBy=${ownIds().isHost ? 'multi-user.target' : 'default.target'}`)
}

export interface PruneFlags extends Rooted {
  readonly all?: boolean
  readonly volumes?: boolean
  readonly force?: boolean
  readonly filter: readonly string[]
}

/** What nothing needs any more, and --filter means: containers that do not run, what broken pulls left; with --all images without a container; with --volumes those without a name. */
export async function pruneVerb(flags: PruneFlags, output: Output): Promise<void> {
  const { meantByFilters } = await import('./verb-images.ts')
  const isMeant = meantByFilters(flags.filter)
  if (flags.volumes && flags.filter.some((filter) => filter.startsWith('until=')))
    throw new RequestError('the filter until=… says nothing of volumes: leave it out, or --volumes', 1)
  if (!flags.force) {
    const { confirm } = await import('./confirm.ts')
    const volumes = flags.volumes ? ', all volumes without a name that no container uses' : ''
    const images = flags.all ? 'all images without a container' : 'what broken pulls left'
    if (!(await confirm(`This removes all stopped containers${volumes}, and ${images}.`, output))) return
  }
  const house = await openHouse(flags.root)
  const before = await writtenBytes(house)
  const { pruneContainersVerb } = await import('./verb-containers.ts')
  await pruneContainersVerb({ root: flags.root, force: true, filter: flags.filter }, output)
  if (flags.volumes) {
    const { pruneVolumesVerb } = await import('./verb-volumes.ts')
    await pruneVolumesVerb({ root: flags.root, force: true, filter: flags.filter }, output)
  }
  const pruned = await new Images(house.store).prune(flags.all ?? false, isMeant).catch((error: unknown) => {
    if (!(error instanceof StoreInUse)) throw error
  })
  if (pruned === undefined)
    output.note('gantry: images are left alone: the store is in use (a pull, or a container that starts)')
  for (const name of pruned?.names ?? []) output.line(`Untagged: ${name}`)
  const freedBytes = Math.max(0, before - (await writtenBytes(house))) // those that run write meanwhile
  output.line(`Total reclaimed space: ${printBytes(freedBytes + (pruned?.freedBytes ?? 0))}`)
}

/** By containers, in themselves and in volumes. */
async function writtenBytes(house: House): Promise<number> {
  const [inContainers, inVolumes] = await Promise.all([containersUse(house), volumesUse(house)])
  return inContainers.sizeBytes + inVolumes.sizeBytes
}

export async function diskUseVerb(flags: Rooted & ListingFlags, output: Output): Promise<void> {
  const house = await openHouse(flags.root)
  const rows = await Promise.all([layersUse(house), containersUse(house), volumesUse(house)])
  printListing(
    rows,
    {
      columns: ['Type', 'TotalCount', 'Active', 'Size'],
      headings: { TotalCount: 'TOTAL' },
      fields: ({ type, total, active, sizeBytes }) => ({
        Type: type,
        TotalCount: total,
        Active: active,
        Size: printBytes(sizeBytes),
      }),
      quiet: ({ type }) => type,
    },
    flags,
    output,
  )
}

interface Use {
  readonly type: string
  readonly total: number
  readonly active: number
  readonly sizeBytes: number
}

async function layersUse({ store, containers }: House): Promise<Use> {
  const [all, records] = [await new Images(store).list(), await containers.list()]
  const used = new Set(records.map(({ imageId }) => imageId))
  const ids = new Set(all.map(({ id }) => id))
  const sizeBytes = (await bytesOnDisk(store.layers)) + (await bytesOnDisk(store.content))
  return { type: 'Images', total: ids.size, active: [...ids].filter((id) => used.has(id)).length, sizeBytes }
}

async function containersUse({ containers }: House): Promise<Use> {
  const records = await containers.list()
  const folders = records.map(({ id }) => containers.folder(id))
  const states = await Promise.all(folders.map(containerState))
  const sizes = await Promise.all(folders.map((folder) => bytesOnDisk(join(folder, 'upper'))))
  return {
    type: 'Containers',
    total: records.length,
    active: states.filter(isAlive).length,
    sizeBytes: sizes.reduce((sum, size) => sum + size, 0),
  }
}

async function volumesUse({ containers, volumes }: House): Promise<Use> {
  const all = await volumes.list()
  const users = await Promise.all(all.map(({ name }) => containers.usersOf(name)))
  const sizes = await Promise.all(all.map(({ folder }) => bytesOnDisk(folder)))
  return {
    type: 'Local Volumes',
    total: all.length,
    active: users.filter(({ length }) => length > 0).length,
    sizeBytes: sizes.reduce((sum, size) => sum + size, 0),
  }
}
