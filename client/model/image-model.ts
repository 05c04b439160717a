/** A manifest or a configuration of a registry, judged before anything in it is used (image-spec). Untrusted JSON goes in, checked values come out. */
import { type Digest, parseDigest } from '../../storage/model/digest.ts'
import type { ImageHealth, ImageProcess } from './image-process.ts'
import { hostPlatform, type Platform } from './platform.ts'

export interface ContentDescriptor {
  readonly mediaType: string
  readonly digest: Digest
  readonly sizeBytes: number
  readonly platform?: Platform
}

export interface ImageManifest {
  readonly kind: 'image'
  readonly config: ContentDescriptor
  readonly layers: readonly ContentDescriptor[]
}

export interface ImageIndex {
  readonly kind: 'index'
  readonly manifests: readonly ContentDescriptor[]
}

export interface ImageConfig {
  readonly platform: Platform
  readonly diffIds: readonly Digest[]
  readonly process: ImageProcess
  readonly created: Date | undefined
}

/** What the registry serves is not what it should be. */
export class ImageInvalid extends Error {
  override readonly name = 'ImageInvalid'
}

const IMAGE_TYPES = new Set([
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
])
const INDEX_TYPES = new Set([
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
])
const CONFIG_TYPES = new Set([
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
])
const LAYER_LIMIT = 500
const DESCRIPTOR_LIMIT = 10_000

type Json = { readonly [key: string]: unknown }

/** `mediaType` is what the registry or the descriptor said it is; where the document says so itself, they must agree (CVE-2021-41190). */
export function parseManifest(bytes: Buffer, mediaType: string): ImageManifest | ImageIndex {
  const document = parsedObject(bytes, 'manifest')
  const own = document['mediaType']
  if (own !== undefined && own !== mediaType)
    throw new ImageInvalid(
      `the manifest is served as ${JSON.stringify(mediaType)} but calls itself ${JSON.stringify(own)}`,
    )
  if (document['schemaVersion'] !== 2)
    throw new ImageInvalid('the manifest is not of schema version 2; older ones are not supported')
  if ('manifests' in document && 'layers' in document)
    throw new ImageInvalid('the manifest is an index and an image at once')
  if (INDEX_TYPES.has(mediaType))
    return { kind: 'index', manifests: array(document, 'manifests', DESCRIPTOR_LIMIT).map(descriptor) }
  if (!IMAGE_TYPES.has(mediaType))
    throw new ImageInvalid(`${JSON.stringify(mediaType)} is no type of an image's manifest`)
  const config = descriptor(document['config'])
  if (!CONFIG_TYPES.has(config.mediaType))
    throw new ImageInvalid(`this is an artifact (${JSON.stringify(config.mediaType)}), not an image that could be run`)
  return { kind: 'image', config, layers: array(document, 'layers', LAYER_LIMIT).map(descriptor) }
}

export function parseImageConfig(bytes: Buffer): ImageConfig {
  const document = parsedObject(bytes, 'configuration')
  const rootfs = object(document['rootfs'] ?? {}, 'rootfs')
  const { os, architecture, variant, created } = document
  return {
    platform: {
      os: text(os || 'linux', 'os'), // who says nothing means the usual, as docker understands it
      architecture: text(architecture || hostPlatform().architecture, 'architecture'),
      ...(typeof variant === 'string' && variant !== '' ? { variant } : {}),
    },
    diffIds: array(rootfs, 'diff_ids', LAYER_LIMIT).map((diffId) => digest(diffId)),
    process: imageProcess(object(document['config'] ?? {}, 'config')),
    created: typeof created === 'string' && !Number.isNaN(Date.parse(created)) ? new Date(created) : undefined,
  }
}

function imageProcess(config: Json): ImageProcess {
  const words = (key: string): readonly string[] =>
    config[key] == null ? [] : array(config, key, DESCRIPTOR_LIMIT).map((word) => withoutNul(text(word, key), key))
  const optional = (key: string): string => (config[key] == null ? '' : withoutNul(text(config[key], key), key))
  return {
    Entrypoint: words('Entrypoint'),
    Cmd: words('Cmd'),
    Env: words('Env'),
    WorkingDir: optional('WorkingDir'),
    User: optional('User'),
    StopSignal: optional('StopSignal'),
    Labels: labels(config['Labels'] ?? {}),
    Volumes: Object.keys(object(config['Volumes'] ?? {}, 'Volumes')),
    ExposedPorts: Object.keys(object(config['ExposedPorts'] ?? {}, 'ExposedPorts')),
    ...(config['Healthcheck'] == null ? {} : { Healthcheck: health(object(config['Healthcheck'], 'Healthcheck')) }),
  }
}

function labels(value: unknown): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(object(value, 'Labels')).map(([key, each]) => [key, text(each, 'a label')]))
}

/** Docker's addition. What is in it is judged when a container is made of it. */
function health(fields: Json): ImageHealth {
  const number = (key: string): number => {
    const value = fields[key] ?? 0
    if (!Number.isSafeInteger(value) || (value as number) < 0)
      throw new ImageInvalid(`Healthcheck.${key} is no duration`)
    return value as number
  }
  return {
    Test: array(fields, 'Test', DESCRIPTOR_LIMIT).map((word) => withoutNul(text(word, 'Healthcheck'), 'Healthcheck')),
    Interval: number('Interval'),
    Timeout: number('Timeout'),
    StartPeriod: number('StartPeriod'),
    StartInterval: number('StartInterval'),
    Retries: number('Retries'),
  }
}

function descriptor(value: unknown): ContentDescriptor {
  const fields = object(value, 'descriptor')
  const size = fields['size']
  if (!Number.isSafeInteger(size) || (size as number) < 0)
    throw new ImageInvalid(`a descriptor has the impossible size ${JSON.stringify(size)}`)
  const platform = fields['platform'] === undefined ? undefined : object(fields['platform'], 'platform')
  return {
    mediaType: text(fields['mediaType'], 'mediaType'),
    digest: digest(fields['digest']),
    sizeBytes: size as number,
    ...(platform && {
      platform: {
        os: text(platform['os'], 'os'),
        architecture: text(platform['architecture'], 'architecture'),
        ...(typeof platform['variant'] === 'string' ? { variant: platform['variant'] } : {}),
      },
    }),
  }
}

function digest(value: unknown): Digest {
  try {
    return parseDigest(text(value, 'digest'))
  } catch (cause) {
    throw new ImageInvalid(`${JSON.stringify(value)} is no digest`, { cause })
  }
}

function parsedObject(bytes: Buffer, what: string): Json {
  try {
    return object(JSON.parse(bytes.toString('utf8')), what)
  } catch (cause) {
    throw cause instanceof ImageInvalid ? cause : new ImageInvalid(`the ${what} is not JSON`, { cause })
  }
}

function object(value: unknown, what: string): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new ImageInvalid(`the ${what} is not an object`)
  return value as Json
}

function array(from: Json, key: string, limit: number): readonly unknown[] {
  const value = from[key] ?? []
  if (!Array.isArray(value)) throw new ImageInvalid(`${key} is not a list`)
  if (value.length > limit) throw new ImageInvalid(`${key} has more than ${limit} elements`)
  return value
}

function text(value: unknown, what: string): string {
  if (typeof value !== 'string') throw new ImageInvalid(`${what} is not a text`)
  return value
}

function withoutNul(value: string, what: string): string {
  if (value.includes('\0')) throw new ImageInvalid(`${what} has a NUL in it`)
  return value
}
