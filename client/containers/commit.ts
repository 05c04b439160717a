/**
 * A container becomes an image: what it has written is one more layer on those of its image, and how it was told to run is in the configuration. One that runs
 * is frozen while it is read, so that the image is of one moment.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { packedLayer } from '../../native/layer-pack.ts'
import { RuntimeError } from '../../native/runtime.ts'
import { type Digest, digestOf } from '../../storage/model/digest.ts'
import { Images, type LocalImage, NoSuchImage } from '../images/images.ts'
import { addImage, addLayer, type MadeImage, type MadeLayer } from '../images/made-image.ts'
import { changedConfig, type RunConfig } from '../model/config-change.ts'
import type { ImageName } from '../model/image-name.ts'
import type { ImageHealth } from '../model/image-process.ts'
import { MOUNT_POINTS } from './changes.ts'
import { PAUSED_FOR_NOW } from './container.ts'
import type { HealthRequest } from './health.ts'
import type { House } from './house.ts'
import { pauseContainer, resumeContainer, WrongState } from './lifecycle.ts'
import type { ContainerRecord } from './record.ts'
import { RequestError } from './request-error.ts'
import { containerState } from './state.ts'

export interface CommitOptions {
  /** Lines of a Dockerfile about how the image is run: `CMD ["/app"]`, `ENV NAME=VALUE`. */
  readonly changes?: readonly string[]
  /** `Ada <ada@example.org>` */
  readonly author?: string
  /** For its history. */
  readonly message?: string
  /** Whether one that runs is frozen meanwhile. It is, unless this is false; with true, or it is an error. */
  readonly pause?: boolean
  /** It runs on, because it could not be frozen. */
  readonly onUnfrozen?: () => void
  readonly signal?: AbortSignal
}

const relative = (path: string): string => path.slice(1)

type Json = Readonly<Record<string, unknown>>

/**
 * Without a name the image is there by its id. Throws `NoSuchContainer`; `NoSuchImage` if the image that it was made from has gone; `ChangeError`; `Error` for a
 * file that no layer can hold. Then nothing of it is kept, and the name means what it meant before.
 */
export async function commitContainer(
  house: House,
  reference: string,
  name: ImageName | undefined,
  options: CommitOptions = {},
): Promise<LocalImage> {
  const { store } = house
  const images = new Images(store)
  await using container = await house.containers.open(reference) // nobody starts or removes it
  const { record, folder } = container
  const { copiedBecause } = container
  if (copiedBecause !== undefined)
    throw new RequestError(
      `${record.name} cannot become an image: it has a copy of its own, because no overlay could be mounted here (${copiedBecause}), and what it has changed is not known apart from it`,
      1,
    )
  try {
    await using _ = await store.lock('store', 'shared', options.signal) // nothing is swept meanwhile
    const base = (await images.list()).find(({ id }) => id === record.imageId)
    if (base === undefined)
      throw new NoSuchImage(
        `the image that ${record.name} was made from (${record.image}, ${record.imageId}) is not here any more; pull it again, by its digest if the tag has moved`,
      )
    const document = async (digest: Digest): Promise<Json> =>
      JSON.parse((await images.content.readSmall(digest)).toString('utf8')) as Json
    const [manifest, configuration] = [await document(base.manifestDigest), await document(base.id)]
    const config = changedConfig(options.changes ?? [], toldConfig((configuration['config'] ?? {}) as Json, record))
    const layer = await frozen(house, record.id, options, () =>
      addLayer(images, packedLayer(join(folder, 'upper'), MOUNT_POINTS.map(relative)), options.signal),
    )
    const made = committed({ manifest, configuration, config }, base, layer, record, options)
    return await addImage(store, images, made, name, options.signal)
  } catch (error) {
    await images.sweep()
    throw error
  }
}

/** Whatever happens, one that ran goes on. */
async function frozen<Result>(
  house: House,
  id: string,
  { pause, onUnfrozen }: Pick<CommitOptions, 'pause' | 'onUnfrozen'>,
  work: () => Promise<Result>,
): Promise<Result> {
  const folder = house.containers.folder(id)
  const isRunning = (await containerState(folder)).status === 'running'
  const isPaused = pause !== false && isRunning && (await unlessItEnded(freeze()))
  try {
    return await work()
  } finally {
    if (isPaused) await unlessItEnded(resumeContainer(house, id))
    await rm(join(folder, PAUSED_FOR_NOW), { force: true })
  }

  async function freeze(): Promise<void> {
    try {
      await pauseContainer(house, id, { forNow: true })
    } catch (error) {
      // An ordinary user has no control groups, unless somebody gave him some.
      if (pause === true || !(error instanceof RuntimeError && /has no freezer/.test(error.message))) throw error
      onUnfrozen?.()
    }
  }
}

/** False if it had ended just then, or somebody else had let it go on. */
const unlessItEnded = (change: Promise<void>): Promise<boolean> =>
  change.then(
    () => true,
    (error: unknown) => {
      if (error instanceof WrongState) return false
      throw error
    },
  )

/** The image's, changed as the container was told to: docker keeps that, too. */
function toldConfig(image: RunConfig, { request, mounts }: ContainerRecord): RunConfig {
  const { command = [], entrypoint, environment = [], health, labels, stopSignal, user, workingDirectory } = request
  const volumes = mounts.filter(({ volume }) => volume?.anonymous).map(({ target }) => [target, {}])
  return {
    ...image,
    ...(entrypoint === undefined ? {} : { Entrypoint: entrypoint === '' ? null : [entrypoint], Cmd: null }),
    ...(command.length > 0 ? { Cmd: command } : {}),
    ...(environment.length > 0 ? { Env: toldVariables((image['Env'] ?? []) as readonly string[], environment) } : {}),
    ...(labels && Object.keys(labels).length > 0 ? { Labels: { ...(image['Labels'] as object), ...labels } } : {}),
    ...(health ? { Healthcheck: toldHealth((image['Healthcheck'] ?? {}) as ImageHealth, health) } : {}),
    ...(volumes.length > 0 ? { Volumes: { ...(image['Volumes'] as object), ...Object.fromEntries(volumes) } } : {}),
    ...(stopSignal ? { StopSignal: stopSignal } : {}),
    ...(user ? { User: user } : {}),
    ...(workingDirectory ? { WorkingDir: workingDirectory } : {}),
  }
}

const NANOSECONDS_PER_MS = 1e6

/** As an image has it. */
function toldHealth(image: ImageHealth, request: HealthRequest): ImageHealth {
  if (request.disabled) return { Test: ['NONE'] }
  const times = {
    Interval: request.intervalMs,
    Timeout: request.timeoutMs,
    StartPeriod: request.startPeriodMs,
    StartInterval: request.startIntervalMs,
  }
  const told = Object.entries(times).flatMap(([name, ms]) => (ms ? [[name, ms * NANOSECONDS_PER_MS]] : []))
  return {
    ...image,
    ...(request.command === undefined ? {} : { Test: ['CMD-SHELL', request.command] }),
    ...Object.fromEntries(told),
    ...(request.retries ? { Retries: request.retries } : {}),
  }
}

/** `NAME=VALUE` sets a variable, `NAME` takes it away. */
function toldVariables(image: readonly string[], changes: readonly string[]): readonly string[] {
  const nameIn = (text: string): string => text.split('=', 1)[0] ?? ''
  const variables = new Map(image.map((text) => [nameIn(text), text]))
  for (const change of changes)
    if (change.includes('=')) variables.set(nameIn(change), change)
    else variables.delete(change)
  return [...variables.values()]
}

const DOCKER_LAYER = 'application/vnd.docker.image.rootfs.diff.tar.gzip'
const OCI_LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip'

/** In the format that the image has, docker's or OCI's. */
function committed(
  before: { readonly manifest: Json; readonly configuration: Json; readonly config: RunConfig },
  base: LocalImage,
  layer: MadeLayer,
  { request, process }: ContainerRecord,
  { author, message }: CommitOptions,
): MadeImage {
  const created = new Date().toISOString()
  const { container_config: _, container: __, history, ...rest } = before.configuration
  const steps: readonly unknown[] = Array.isArray(history) ? history : base.config.diffIds.map(() => ({})) // one a layer
  const step = {
    created,
    created_by: [...(request.command ?? process.Cmd ?? [])].join(' '),
    ...(author ? { author } : {}),
    ...(message ? { comment: message } : {}),
  }
  const configuration = Buffer.from(
    JSON.stringify({
      ...rest,
      created,
      ...(author ? { author } : {}),
      config: before.config,
      rootfs: { type: 'layers', diff_ids: [...base.config.diffIds, layer.diffId] },
      history: [...steps, step],
    }),
  )
  const { mediaType: configType } = base.manifest.config
  const mediaType = base.mediaType.startsWith('application/vnd.docker.') ? DOCKER_LAYER : OCI_LAYER
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: base.mediaType,
      config: { mediaType: configType, digest: digestOf(configuration), size: configuration.length },
      layers: [
        ...(before.manifest['layers'] as readonly unknown[]),
        { mediaType, digest: layer.digest, size: layer.sizeBytes },
      ],
    }),
  )
  return { platform: base.config.platform, configuration, manifest }
}
