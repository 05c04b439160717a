/**
 * A container is made: a folder, a name, its volumes, and last its record, with which it begins to be. Until then it is nobody's, and whatever
 * a killed command leaves of it is cleared away by the next.
 */
import type { LocalImage } from '../images/images.ts'
import { Layers } from '../store/layers.ts'
import { checkTargets, resolveBind } from './binds.ts'
import { chosenCapabilities } from './capabilities.ts'
import type { Container } from './container.ts'
import { healthPlan } from './health.ts'
import type { House } from './house.ts'
import type { MountRequest, VolumeRequest } from './mounts.ts'
import { checkContainerName } from './names.ts'
import { processArguments, workingDirectory } from './process-spec.ts'
import { parseSignal } from './quantities.ts'
import type { RecordedMount } from './record.ts'
import type { ContainerRequest } from './request.ts'
import { RequestError } from './request-error.ts'
import { checkResources } from './resources.ts'

/** Made, its record written, its root mounted, and locked. Throws `RequestError`, and then nothing of it is left. */
export async function createContainer(house: House, image: LocalImage, request: ContainerRequest): Promise<Container> {
  checkRequest(image, request)
  await using _ = await house.store.lock('store', 'shared') // until its record names the layers, nothing may sweep them
  const unpacked = new Layers(house.store)
  const own = await unpacked.find(image.config.diffIds)
  if (own === undefined) throw new RequestError(`the layers of ${image.name} are not unpacked; pull it again`)
  const layers = await unpacked.onFloor(own)
  await using held = await house.volumes.hold()
  const container = await house.containers.begin()
  const anonymous: string[] = []
  try {
    const wanted = request.name === undefined ? undefined : checkContainerName(request.name)
    const name = await house.containers.names.claim(container.id, wanted, (id, name) =>
      house.containers.hasName(id, name),
    )
    await container.mount(layers, { lasting: !request.autoRemove })
    await container.save({
      version: 1,
      id: container.id,
      name,
      created: new Date().toISOString(),
      image: image.name,
      imageId: image.id,
      architecture: image.config.platform.architecture,
      process: image.config.process,
      request,
      layers,
      mounts: await recordedMounts(house, container, image, request, anonymous),
      endpoints: [],
    })
    return container
  } catch (error) {
    await held[Symbol.asyncDispose]()
    await container.remove({ volumes: true })
    await container.close()
    for (const name of anonymous) await house.volumes.removeUnused(name, (volume) => house.containers.usersOf(volume))
    throw error
  }
}

/** What can be known to be wrong before anything is made. */
function checkRequest({ config }: LocalImage, request: ContainerRequest): void {
  processArguments(config.process, request)
  workingDirectory(config.process, request)
  checkResources(request)
  chosenCapabilities(request)
  checkTargets(request.mounts ?? [])
  healthPlan(request.health, config.process.Healthcheck)
  const signal = request.stopSignal ?? config.process.StopSignal
  if (signal) parseSignal(signal)
  if (request.autoRemove && request.restart && request.restart.policy !== 'no')
    throw new RequestError('--restart contradicts --rm: a container that is removed when it ends is not started again')
  const { dns, dnsSearch, dnsOptions, extraHosts } = request
  const ofNetwork = [dns, dnsSearch, dnsOptions, extraHosts].some((list) => list !== undefined && list.length > 0)
  if (ofNetwork && request.network?.startsWith('container:'))
    throw new RequestError(
      '--dns, --dns-search, --dns-option and --add-host contradict --network container:…: the files would be somebody else’s',
    )
  if (request.hostname !== undefined && (request.uts === 'host' || request.network?.startsWith('container:')))
    throw new RequestError(
      `--hostname contradicts ${request.uts === 'host' ? '--uts host' : '--network container:…'}: the name would be somebody else's`,
    )
}

/** `anonymous`: the names of volumes made for it alone, also when it throws. In docker's order: those of other containers, those that were asked for, the image's volumes; the later ones for places that are free. */
async function recordedMounts(
  house: House,
  container: Container,
  { config }: LocalImage,
  request: ContainerRequest,
  anonymous: string[],
): Promise<readonly RecordedMount[]> {
  const asked = request.mounts ?? []
  const mounts = new Map<string, RecordedMount>()
  for (const source of request.volumesFrom ?? [])
    for (const mount of await volumesOf(house, source)) mounts.set(mount.target, mount)
  for (const mount of asked) mounts.set(mount.target, await recorded(house, container, mount, anonymous))
  for (const path of config.process.Volumes ?? []) {
    const target = path.startsWith('/') ? path.replace(/(.)\/+$/, '$1') : `/${path}`
    if (!mounts.has(target))
      mounts.set(
        target,
        await recorded(house, container, { type: 'volume', target, readOnly: false, noCopy: false }, anonymous),
      )
  }
  return [...mounts.values()]
}

async function recorded(
  house: House,
  container: Container,
  mount: MountRequest,
  anonymous: string[],
): Promise<RecordedMount> {
  if (mount.type === 'bind') return await resolveBind(mount)
  if (mount.type === 'tmpfs') return mount
  return await volumeMount(house, container, mount, anonymous)
}

async function volumeMount(
  house: House,
  container: Container,
  request: VolumeRequest,
  anonymous: string[],
): Promise<RecordedMount> {
  const { name, target, readOnly, noCopy, labels } = request
  const volume = await house.volumes.create(name, labels, name === undefined)
  if (name === undefined) anonymous.push(volume.name)
  if (!noCopy) await house.volumes.fill(volume, container.rootfs, target)
  return {
    type: 'bind',
    source: volume.folder,
    target,
    readOnly,
    propagation: 'rprivate',
    recursive: true,
    volume: { name: volume.name, anonymous: volume.anonymous },
  }
}

/** `NAME[:ro|rw]`: what that container has mounted, but for its tmpfs. */
async function volumesOf(house: House, text: string): Promise<readonly RecordedMount[]> {
  const [reference = '', mode, ...more] = text.split(':')
  if ((mode !== undefined && mode !== 'ro' && mode !== 'rw') || more.length > 0)
    throw new RequestError(
      `invalid --volumes-from ${JSON.stringify(text)}: write CONTAINER, CONTAINER:ro or CONTAINER:rw`,
    )
  const { mounts } = await house.containers.find(reference)
  return mounts.flatMap((mount) =>
    mount.type === 'bind' ? [{ ...mount, readOnly: mode === 'ro' || mount.readOnly }] : [],
  )
}
