/**
 * A recipe: all that a `gantry run` writes, with blanks for what differs from one container to the next, kept for the native launcher
 * (native/src/launcher/recipe.h reads the same document). It makes the containers of further commands with the same options from it, without Node; what
 * they are like is decided here alone. A recipe holds for as long as what it was made from is as it was, which the launcher looks at each time: the
 * image behind the name, files of this machine, the package.
 */
import { mkdir, readdir, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { ImmediateHash } from '../../native/hash.ts'
import { printMonitorPlan } from '../../native/monitor-plan.ts'
import { randomHex } from '../../native/random.ts'
import { DEFAULT_EXECUTABLE } from '../../native/runtime.ts'
import { Images } from '../images/images.ts'
import { parseImageName } from '../model/image-name.ts'
import { ownIds } from '../store/own-ids.ts'
import { replaceFile, type StoreFolders } from '../store/store.ts'
import { type BundleFile, bundleFiles, HOST_FILES, hostsText } from './bundle.ts'
import { type Container, lowerFolders } from './container.ts'
import type { House } from './house.ts'
import { QUALITIES, THINGS } from './names.ts'
import { type ContainerRecord, printRecord } from './record.ts'
import type { ContainerRequest } from './request.ts'
import { monitorPlan } from './start.ts'
import { STATE_ROOT } from './state-root.ts'

interface Recipe {
  readonly version: 1
  readonly image: string
  readonly manifest: string
  /** What it was made from on this machine: another text, or name, and it holds no more. */
  readonly host: { readonly name: string; readonly files: Readonly<Record<string, string>> }
  /** Paths of this machine that have to be there. */
  readonly sources: readonly string[]
  /** Of the root filesystem, the uppermost first. */
  readonly lower: readonly string[]
  readonly removed: boolean
  readonly detached: boolean
  readonly interactive: boolean
  readonly runtime: string
  readonly stateRoot: string
  /** A name of our own is one of each. */
  readonly names: readonly (readonly string[])[]
  /** Texts that stand for what is filled in. In documents they are inside of strings; that of the command is the whole string, for all of its words. */
  readonly blanks: {
    readonly id: string
    readonly name: string
    readonly created: string
    readonly command: string
    /** Of the variables that were set, in their order: they may be secrets, which nobody keeps. */
    readonly values: readonly string[]
  }
  readonly record: string
  readonly files: readonly BundleFile[]
}

/** What a bundle and a plan are made from without a look at anything else than the image, `HOST_FILES` and other containers' absence. */
const REPEATABLE: ReadonlySet<string> = new Set([
  ...(['command', 'entrypoint', 'environment', 'workingDirectory', 'user', 'groups', 'interactive', 'init'] as const),
  ...(['name', 'hostname', 'domainname', 'labels', 'annotations', 'network', 'pid', 'ipc', 'uts', 'cgroup'] as const),
  ...(['sysctls', 'addedCapabilities', 'droppedCapabilities', 'readOnly', 'mounts', 'shmBytes', 'ulimits'] as const),
  ...(['memoryBytes', 'memorySwapBytes', 'memoryReservationBytes', 'cpuShares', 'pidsLimit', 'cgroupParent'] as const),
  ...(['oomScoreAdjust', 'dns', 'dnsSearch', 'dnsOptions', 'extraHosts', 'autoRemove', 'restart', 'health'] as const),
  ...(['stopSignal', 'stopTimeoutSeconds', 'log'] as const),
] satisfies readonly (keyof ContainerRequest)[])

const MOST_RECIPES = 100
const VARIABLE = 'GANTRY_RECIPE'

/** The key under which the launcher, which has become this process, looks for a recipe of what this command was told. Once. */
export function recipeKey(): string | undefined {
  const [pid, key] = (process.env[VARIABLE] ?? '').split(' ')
  delete process.env[VARIABLE] // for what is started from here it would be a lie
  return pid === String(process.pid) && key !== undefined && /^[0-9a-f]{64}$/.test(key) ? key : undefined
}

/** Keeps one for what a container is made of that has not been started yet, if there can be one. Without it everything is as right, and slower: no fault is told. */
export async function keepRecipe(
  house: House,
  container: Container,
  { key, image, detached }: { readonly key: string; readonly image: string; readonly detached: boolean },
): Promise<void> {
  try {
    const recipe = await recipeOf(house, container, image, detached)
    if (recipe === undefined) return
    const folder = join(house.store.root, 'recipes')
    await mkdir(folder, { recursive: true, mode: 0o700 })
    // Those that somebody uses come back by themselves.
    if ((await readdir(folder)).length >= MOST_RECIPES) await forgetRecipes(house.store)
    const text = JSON.stringify(recipe)
    const digest = new ImmediateHash('sha256').update(Buffer.from(text)).digestHex() // a byte that a disk has changed would be in every container
    await replaceFile(join(folder, key), `${digest}\n${text}`, { durable: false })
  } catch {
    // It is only for speed.
  }
}

async function forgetRecipes(store: StoreFolders): Promise<void> {
  const folder = join(store.root, 'recipes')
  for (const name of await readdir(folder)) await rm(join(folder, name), { force: true })
}

async function recipeOf(
  house: House,
  container: Container,
  typed: string,
  detached: boolean,
): Promise<Recipe | undefined> {
  const { record, folder } = container
  const image = await new Images(house.store).find(parseImageName(typed)) // not an id, which may become the beginning of two
  if (
    image?.id !== record.imageId ||
    !ownIds().isHost ||
    !isRepeatable(record) ||
    container.copiedBecause !== undefined
  )
    return undefined
  const { environment = [], ...others } = record.request
  const blank = { name: randomHex(16), created: randomHex(16), command: randomHex(16) }
  const values = environment.map(() => randomHex(16))
  const request: ContainerRequest = {
    ...others,
    ...(environment.length > 0
      ? { environment: environment.map((each, i) => `${each.slice(0, each.indexOf('='))}=${values[i]}`) }
      : {}),
    ...(record.request.name === undefined ? {} : { name: blank.name }),
    ...(record.request.command === undefined ? {} : { command: [blank.command] }),
  }
  const blankRecord: ContainerRecord = { ...record, name: blank.name, created: blank.created, request }
  const plan = monitorPlan(house, blankRecord, undefined, detached)
  const input = { folder, id: record.id, image: record.process, architecture: record.architecture, request }
  return {
    version: 1,
    image: image.name,
    manifest: image.manifestDigest,
    host: { name: hostname(), files: Object.fromEntries(HOST_FILES.map((path) => [path, hostsText(path)])) },
    sources: [
      ...record.mounts.flatMap((mount) => (mount.type === 'bind' ? [mount.source] : [])),
      ...(plan.onExit?.args.slice(0, 1) ?? []),
    ],
    lower: lowerFolders(record.layers),
    removed: request.autoRemove ?? false,
    detached,
    interactive: request.interactive ?? false,
    runtime: DEFAULT_EXECUTABLE,
    stateRoot: STATE_ROOT,
    names: [QUALITIES, THINGS],
    blanks: { id: record.id, ...blank, values },
    record: printRecord(blankRecord),
    files: [
      ...(await bundleFiles({ ...input, mounts: record.mounts })),
      { name: 'monitor.json', text: printMonitorPlan(plan), mode: 0o600 },
    ],
  }
}

/** Whether all that was asked is in the words of the command, and no other container has to do with it. */
function isRepeatable({ request, mounts, layers }: ContainerRecord): boolean {
  const { network, pid, ipc, environment = [] } = request
  return (
    layers.length > 0 &&
    Object.keys(request).every((key) => REPEATABLE.has(key)) &&
    ![network, pid, ipc].some((choice) => choice?.startsWith('container:')) &&
    environment.every((each) => each.indexOf('=') > 0) &&
    mounts.every((mount) => mount.volume === undefined)
  )
}
