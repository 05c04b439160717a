/**
 * Manifests and indexes, judged from their exact bytes before they are stored (image-spec, manifest.md and
 * image-index.md). Nothing is rewritten: a registry keeps what was pushed, fields that it does not know included.
 */
import { ManifestInvalid } from '../errors.ts'
import { algorithmOf, type Digest, digestOf, parseDigest } from './digest.ts'
import { DOCKER_LIST, DOCKER_MANIFEST, type MediaType, OCI_INDEX, OCI_MANIFEST } from './media-type.ts'

/** As it stands in JSON; further fields are kept. */
export interface Descriptor {
  readonly mediaType: string
  readonly digest: Digest
  readonly size: number
  readonly artifactType?: string
  readonly annotations?: Readonly<Record<string, string>>
}

/** What a registry needs to know of a manifest. */
export interface Manifest {
  readonly kind: 'image' | 'index'
  /** Blobs that a client will ask for: configuration and layers, those that live elsewhere left out. */
  readonly blobs: readonly Descriptor[]
  /** Manifests that an index lists. */
  readonly manifests: readonly Descriptor[]
  readonly subject?: Descriptor
  /** For the list of referrers: its own, else the type of an image's configuration. */
  readonly artifactType?: string
  readonly annotations?: Readonly<Record<string, string>>
}

type Json = { readonly [field: string]: unknown }

const IMAGES: readonly string[] = [OCI_MANIFEST, DOCKER_MANIFEST]
const INDEXES: readonly string[] = [OCI_INDEX, DOCKER_LIST]
const SCHEMA_1 = /^application\/vnd\.docker\.distribution\.manifest\.v1\+/
const MOST_DESCRIPTORS = 100_000

/** `mediaType` is what the pusher declared. Throws `ManifestInvalid`. */
export function parseManifest(bytes: Uint8Array, mediaType: MediaType): Manifest {
  const document = parseObject(bytes)
  if (SCHEMA_1.test(mediaType) || document['schemaVersion'] === 1) {
    throw new ManifestInvalid(
      'schemaVersion',
      '1 (docker schema 1)',
      'an image pushed again by a client of this decade, as schema 2 or OCI',
    )
  }
  if (document['schemaVersion'] !== 2) throw new ManifestInvalid('schemaVersion', show(document['schemaVersion']), '2')
  const own = document['mediaType']
  if (own !== undefined && own !== mediaType) {
    throw new ManifestInvalid('mediaType', show(own), `${show(mediaType)}, as the Content-Type says`)
  }
  if ('manifests' in document && 'layers' in document) {
    throw new ManifestInvalid(
      '$',
      'both "manifests" and "layers"',
      'an index with the one or an image with the other (CVE-2021-41190)',
    )
  }
  if (INDEXES.includes(mediaType)) return index(document)
  if (IMAGES.includes(mediaType)) return image(document)
  throw new ManifestInvalid('Content-Type', show(mediaType), `one of ${[...IMAGES, ...INDEXES].join(', ')}`)
}

function image(document: Json): Manifest {
  if ('manifests' in document) throw new ManifestInvalid('manifests', 'a list', 'none: this is declared to be an image')
  const config = descriptor(document['config'], 'config')
  const layers = document['layers'] === undefined ? [] : descriptors(document['layers'], 'layers')
  return {
    kind: 'image',
    blobs: [config, ...layers].filter((blob) => !livesElsewhere(blob)),
    manifests: [],
    ...common(document, config.mediaType),
  }
}

function index(document: Json): Manifest {
  if ('layers' in document) throw new ManifestInvalid('layers', 'a list', 'none: this is declared to be an index')
  const manifests = document['manifests'] === undefined ? [] : descriptors(document['manifests'], 'manifests')
  return { kind: 'index', blobs: [], manifests, ...common(document, undefined) }
}

function common(
  document: Json,
  configType: string | undefined,
): Pick<Manifest, 'subject' | 'artifactType' | 'annotations'> {
  const artifactType = optionalString(document['artifactType'], 'artifactType') || configType
  return {
    ...(document['subject'] === undefined ? {} : { subject: descriptor(document['subject'], 'subject') }),
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(document['annotations'] === undefined
      ? {}
      : { annotations: stringMap(document['annotations'], 'annotations') }),
  }
}

/** Foreign and non-distributable layers are fetched from their own `urls`; no registry need have them. */
const livesElsewhere = ({ mediaType }: Descriptor): boolean =>
  mediaType.includes('.nondistributable.') || mediaType.includes('.foreign.')

function descriptors(value: unknown, path: string): Descriptor[] {
  if (!Array.isArray(value)) throw new ManifestInvalid(path, show(value), 'a list of descriptors')
  if (value.length > MOST_DESCRIPTORS)
    throw new ManifestInvalid(path, `${value.length} entries`, `at most ${MOST_DESCRIPTORS}`)
  return value.map((entry, place) => descriptor(entry, `${path}[${place}]`))
}

function descriptor(value: unknown, path: string): Descriptor {
  const fields = object(value, path)
  const { mediaType, size } = fields
  if (typeof mediaType !== 'string' || mediaType === '')
    throw new ManifestInvalid(`${path}.mediaType`, show(mediaType), 'a media type')
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw new ManifestInvalid(`${path}.size`, show(size), 'a number of bytes')
  }
  const digest = digestField(fields['digest'], `${path}.digest`)
  checkData(fields['data'], digest, size, `${path}.data`)
  const artifactType = optionalString(fields['artifactType'], `${path}.artifactType`)
  return { mediaType, digest, size, ...(artifactType === undefined ? {} : { artifactType }) }
}

function digestField(value: unknown, path: string): Digest {
  if (typeof value !== 'string') throw new ManifestInvalid(path, show(value), 'a digest')
  try {
    return parseDigest(value)
  } catch (cause) {
    throw new ManifestInvalid(path, show(value), 'sha256:<64 hex digits> or sha512:<128 hex digits>', { cause })
  }
}

/** Embedded content is what the digest says, or somebody reads something else than what was signed. */
function checkData(value: unknown, digest: Digest, size: number, path: string): void {
  if (value === undefined) return
  if (typeof value !== 'string') throw new ManifestInvalid(path, show(value), 'base64')
  const bytes = Buffer.from(value, 'base64')
  if (bytes.length !== size || digestOf(bytes, algorithmOf(digest)) !== digest) {
    throw new ManifestInvalid(
      path,
      `${bytes.length} bytes of ${digestOf(bytes, algorithmOf(digest))}`,
      `${size} bytes of ${digest}`,
    )
  }
}

function parseObject(bytes: Uint8Array): Json {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new ManifestInvalid('$', `no JSON (${(cause as Error).message})`, 'a JSON document in UTF-8', { cause })
  }
  return object(value, '$')
}

function object(value: unknown, path: string): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ManifestInvalid(path, show(value), 'an object')
  }
  return value as Json
}

function optionalString(value: unknown, path: string): string | undefined {
  if (value !== undefined && typeof value !== 'string') throw new ManifestInvalid(path, show(value), 'a string')
  return value
}

function stringMap(value: unknown, path: string): Record<string, string> {
  for (const [key, text] of Object.entries(object(value, path))) optionalString(text, `${path}[${JSON.stringify(key)}]`)
  return value as Record<string, string>
}

/** What is nested is only named: printing it recurses as deep as somebody cared to nest it. */
function show(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object' && value !== null) return 'an object'
  const cut = typeof value === 'string' && value.length > 80 ? `${value.slice(0, 80)}…` : value
  return JSON.stringify(cut)
}
