/** What `gantry inspect` tells of an image: docker's document, and of the manifest what docker does not tell. */
import type { Digest } from '../../storage/model/digest.ts'
import { imagesIn, inspect, type LookOptions } from '../images/look.ts'
import { parsePlace } from '../images/places.ts'
import { ABSENT_LIST, ABSENT_MAP, OMITTED_MAP } from '../model/absent.ts'
import { type ImageName, parseImageName, printImageName } from '../model/image-name.ts'

const NEVER = '0001-01-01T00:00:00Z'

/** Of one that is here, in a registry, or wherever its name says. Throws what `inspect` does. */
export async function imageDocument(asked: string, options: LookOptions & { readonly root: string }): Promise<object> {
  const { digest, mediaType, manifest, config, platforms } = await inspect(asked, options)
  const { os, architecture, variant, created, author, comment, rootfs, config: process } = config
  const names = await namesOf(asked, manifest.config.digest, digest, options.root)
  return {
    Id: manifest.config.digest,
    RepoTags: names.flatMap(({ name }) => (name.digest === undefined ? [printImageName(name)] : [])),
    RepoDigests: [...new Set(names.map(({ name, digest }) => `${name.registry}/${name.repository}@${digest}`))],
    Parent: '',
    Comment: comment ?? '',
    Created: created ?? NEVER,
    Author: author ?? '',
    Config: processDocument(process),
    Architecture: architecture ?? '',
    ...(variant ? { Variant: variant } : {}),
    Os: os ?? '',
    Size: manifest.layers.reduce((sum, layer) => sum + layer.sizeBytes, manifest.config.sizeBytes),
    RootFS: rootFsDocument(rootfs),
    Digest: digest,
    MediaType: mediaType,
    Platforms: platforms,
    Layers: manifest.layers.map((layer) => ({
      MediaType: layer.mediaType,
      Digest: layer.digest,
      Size: layer.sizeBytes,
    })),
  }
}

interface Named {
  readonly name: ImageName
  /** Of its manifest there. */
  readonly digest: Digest
}

/** All that the image is called here, or the one that it was asked for by, in a registry. */
async function namesOf(asked: string, id: Digest, digest: Digest, root: string): Promise<readonly Named[]> {
  const all = (await (await imagesIn(root))?.list()) ?? []
  const here = all.flatMap((image) =>
    image.id === id ? [{ name: parseImageName(image.name), digest: image.manifestDigest }] : [],
  )
  if (here.length > 0) return here
  const place = parsePlace(asked)
  return place.kind === 'registry' ? [{ name: place.name, digest }] : []
}

/** As it stands in the configuration, and what docker shows of everything that does not. */
function processDocument(given: unknown): object {
  const absent = {
    Hostname: '',
    Domainname: '',
    User: '',
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    ExposedPorts: OMITTED_MAP,
    Tty: false,
    OpenStdin: false,
    StdinOnce: false,
    Env: ABSENT_LIST,
    Cmd: ABSENT_LIST,
    Healthcheck: undefined,
    Image: '',
    Volumes: ABSENT_MAP,
    WorkingDir: '',
    Entrypoint: ABSENT_LIST,
    OnBuild: ABSENT_LIST,
    Labels: ABSENT_MAP,
    StopSignal: undefined,
  }
  return { ...absent, ...Object.fromEntries(Object.entries(given ?? {}).filter(([, value]) => value !== null)) }
}

const rootFsDocument = (rootfs: unknown): object => {
  const { type, diff_ids: layers } = { type: 'layers', diff_ids: ABSENT_LIST, ...(rootfs ?? {}) }
  return { Type: type, Layers: layers }
}
