/**
 * Manifests and indexes, judged from their exact bytes before they are stored (image-spec, manifest.md and
 * image-index.md). Nothing is rewritten: a registry keeps what was pushed, fields that it does not know included.
 */
import { ManifestInvalid } from '../errors.ts'
import { algorithmOf, type Digest, digestOf, type ForeignDigest, isComputable, parseAnyDigest } from './digest.ts'
import { isAbsent, type Json, list, object, optional, parseObject, show, string, stringMap } from './document.ts'
import { DOCKER_LIST, DOCKER_MANIFEST, type MediaType, OCI_INDEX, OCI_MANIFEST } from './media-type.ts'

/** As it stands in JSON; further fields are kept. */
export interface Descriptor {
  readonly mediaType: string
  readonly digest: Digest | ForeignDigest
  readonly size: number
  readonly artifactType?: string
  readonly annotations?: Readonly<Record<string, string>>
}

/** A descriptor, and where in the document it stands: `layers[2]`. */
export interface Reference {
  readonly path: string
  readonly mediaType: string
  readonly digest: Digest | ForeignDigest
  readonly size: number
}

/** What a registry needs to know of a manifest. */
export interface Manifest {
  readonly kind: 'image' | 'index'
  /** Blobs that a client will ask for: configuration and layers, those that live elsewhere left out. */
  readonly blobs: readonly Reference[]
  /** Manifests that an index lists. */
  readonly manifests: readonly Reference[]
  readonly subject?: Reference
  /** For the list of referrers: its own, else the type of an image's configuration. */
  readonly artifactType?: string
  readonly annotations?: Readonly<Record<string, string>>
}

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
  const own = optional(document['mediaType'], 'mediaType', string)
  if (own !== undefined && own !== mediaType) {
    throw new ManifestInvalid('mediaType', show(own), `${show(mediaType)}, as the Content-Type says`)
  }
  const { manifests, layers } = document
  if (!isAbsent(manifests) && !isAbsent(layers)) {
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
  refuse(document, 'manifests', 'an image, whose content is "config" and "layers"', OCI_INDEX)
  const config = descriptor(document['config'], 'config')
  const layers = optional(document['layers'], 'layers', descriptors) ?? []
  return {
    kind: 'image',
    blobs: [config, ...layers].filter(({ elsewhere }) => !elsewhere),
    manifests: [],
    ...common(document, config.mediaType),
  }
}

function index(document: Json): Manifest {
  for (const field of ['layers', 'config']) {
    refuse(document, field, 'an index, whose content is "manifests"', OCI_MANIFEST)
  }
  const manifests = optional(document['manifests'], 'manifests', descriptors) ?? []
  return {
    kind: 'index',
    blobs: [],
    manifests: manifests.filter(({ elsewhere }) => !elsewhere),
    ...common(document, undefined),
  }
}

/** The body looks like the other kind: somebody would read it as that. */
function refuse(document: Json, field: string, declared: string, other: MediaType): void {
  if (isAbsent(document[field])) return
  throw new ManifestInvalid(
    field,
    show(document[field]),
    `none: the Content-Type declares ${declared}; or push it as ${other}`,
  )
}

function common(
  document: Json,
  configType: string | undefined,
): Pick<Manifest, 'subject' | 'artifactType' | 'annotations'> {
  const artifactType = optional(document['artifactType'], 'artifactType', string) || configType
  const subject = optional(document['subject'], 'subject', descriptor)
  const annotations = optional(document['annotations'], 'annotations', stringMap)
  return {
    ...(subject === undefined ? {} : { subject }),
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(annotations === undefined ? {} : { annotations }),
  }
}

interface Described extends Reference {
  /** Fetched from its own `urls`; no registry need have it. */
  readonly elsewhere: boolean
}

function descriptors(value: unknown, path: string): readonly Described[] {
  const entries = list(value, path, 'descriptors')
  if (entries.length > MOST_DESCRIPTORS) {
    throw new ManifestInvalid(path, `${entries.length} entries`, `at most ${MOST_DESCRIPTORS}`)
  }
  return entries.map((entry, place) => descriptor(entry, `${path}[${place}]`))
}

function descriptor(value: unknown, path: string): Described {
  const fields = object(value, path)
  const mediaType = string(fields['mediaType'], `${path}.mediaType`, 'a media type')
  if (mediaType === '') throw new ManifestInvalid(`${path}.mediaType`, '""', 'a media type')
  const { size } = fields
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw new ManifestInvalid(`${path}.size`, show(size), 'a number of bytes')
  }
  const digest = digestField(fields['digest'], `${path}.digest`)
  if (!isAbsent(fields['data'])) checkData(fields['data'], digest, size, `${path}.data`)
  optional(fields['artifactType'], `${path}.artifactType`, string)
  optional(fields['annotations'], `${path}.annotations`, stringMap)
  const urls = optional(fields['urls'], `${path}.urls`, strings) ?? []
  const elsewhere = urls.length > 0 || mediaType.includes('.nondistributable.') || mediaType.includes('.foreign.')
  return { path, mediaType, digest, size, elsewhere }
}

const strings = (value: unknown, path: string): readonly string[] =>
  list(value, path, 'strings').map((entry, place) => string(entry, `${path}[${place}]`))

function digestField(value: unknown, path: string): Digest | ForeignDigest {
  const text = string(value, path, 'a digest')
  try {
    return parseAnyDigest(text)
  } catch (cause) {
    throw new ManifestInvalid(path, show(text), 'sha256:<64 hex digits> or sha512:<128 hex digits>', { cause })
  }
}

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/

/** Embedded content is what the digest says, or somebody reads something else than what was signed. */
function checkData(value: unknown, digest: Digest | ForeignDigest, size: number, path: string): void {
  if (typeof value !== 'string' || value.length % 4 !== 0 || !BASE64.test(value)) {
    throw new ManifestInvalid(path, show(value), 'base64')
  }
  const bytes = Buffer.from(value, 'base64')
  const actual = isComputable(digest) ? digestOf(bytes, algorithmOf(digest)) : digest
  if (bytes.length !== size || actual !== digest) {
    throw new ManifestInvalid(path, `${bytes.length} bytes of ${actual}`, `${size} bytes of ${digest}`)
  }
}
