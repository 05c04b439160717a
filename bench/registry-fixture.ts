/** What is read in the benchmark: one image with blobs of 1 kB, 1 MB and 100 MB, under ten tags. */
import { createHash } from 'node:crypto'
import { Content, pushBlob } from '../conformance/support/blobs.ts'

export interface Fixture {
  readonly name: string
  /** Digests. */
  readonly manifest: string
  readonly small: string
  readonly medium: string
  readonly large: string
}

const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json'
const TAGS = ['latest', ...Array.from({ length: 9 }, (_, index) => `v1.${index}`)]

export async function pushFixture(url: string): Promise<Fixture> {
  const name = 'bench/read'
  const blobs: { digest: string; size: number }[] = []
  for (const size of [1_000, 1_000_000, 100_000_000]) {
    const content = new Content(size)
    const digest = content.digest()
    await pushBlob(url, name, content, digest)
    blobs.push({ digest, size })
  }
  const [small, medium, large] = blobs as [(typeof blobs)[number], (typeof blobs)[number], (typeof blobs)[number]]
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...small },
    layers: [medium, large].map((blob) => ({ mediaType: 'application/vnd.oci.image.layer.v1.tar', ...blob })),
  })
  for (const tag of TAGS) {
    const response = await fetch(`${url}/v2/${name}/manifests/${tag}`, {
      method: 'PUT',
      headers: { 'Content-Type': MANIFEST_TYPE },
      body: manifest,
    })
    await response.arrayBuffer()
    if (response.status !== 201) throw new Error(`${url} refused the manifest with ${response.status}`)
  }
  const digest = `sha256:${createHash('sha256').update(manifest).digest('hex')}`
  return { name, manifest: digest, small: small.digest, medium: medium.digest, large: large.digest }
}
