/** Media types of manifests (image-spec, media-types.md; docker's image manifest version 2, schema 2). */
import { ManifestInvalid } from '../errors.ts'

declare const brand: unique symbol

/** `type/subtype` without parameters, lower case. */
export type MediaType = string & { readonly [brand]: 'MediaType' }

const known = (text: string) => text as MediaType

export const OCI_MANIFEST = known('application/vnd.oci.image.manifest.v1+json')
export const OCI_INDEX = known('application/vnd.oci.image.index.v1+json')
export const DOCKER_MANIFEST = known('application/vnd.docker.distribution.manifest.v2+json')
export const DOCKER_LIST = known('application/vnd.docker.distribution.manifest.list.v2+json')

/** RFC 6838 section 4.2 restricts names to these characters. */
const GRAMMAR = /^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$/

/** Parameters are ignored, as the specification asks of registries. Throws `ManifestInvalid`: the type says what the body is. */
export function parseMediaType(text: string): MediaType {
  const bare = (text.split(';', 1)[0] ?? '').trim().toLowerCase()
  if (!GRAMMAR.test(bare)) {
    throw new ManifestInvalid(
      'Content-Type',
      JSON.stringify(text.slice(0, 160)),
      `<type>/<subtype>, such as ${OCI_MANIFEST}`,
    )
  }
  return bare as MediaType
}
