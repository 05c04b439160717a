/** Images as a registry serves them, made by tests: what is under a path, `manifests/latest`, `blobs/sha256:…`. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { gzipSync } from 'node:zlib'
import tar from 'tar-stream'
import { digestOf } from '../../storage/model/digest.ts'
import { hostPlatform } from '../model/platform.ts'

export const MANIFEST = 'application/vnd.oci.image.manifest.v1+json'

interface Page {
  readonly type: string
  readonly bytes: Buffer
}

export type Pages = Map<string, Page>

export const described = (type: string, bytes: Buffer) => ({
  mediaType: type,
  digest: digestOf(bytes),
  size: bytes.length,
})

export async function layerOf(files: Readonly<Record<string, string | Buffer>>, mode = 0o644): Promise<Buffer> {
  const pack = tar.pack()
  for (const [name, content] of Object.entries(files)) pack.entry({ name, mode, mtime: new Date(0) }, content) // the same layer whenever it is made
  pack.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of pack) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** An image of these layers; `change` spoils the manifest before it is written down. */
export function imagePages(
  tars: readonly Buffer[],
  config: object,
  change: (manifest: { layers: { size: number; digest: string }[]; mediaType: string }) => void = () => {},
  compress: (tar: Buffer) => Buffer = (tar) => gzipSync(tar),
  platform: object = hostPlatform(),
): Pages {
  const blobs = tars.map(compress)
  const configuration = Buffer.from(
    JSON.stringify({
      ...platform,
      config,
      rootfs: { type: 'layers', diff_ids: tars.map((bytes) => digestOf(bytes)) },
    }),
  )
  const manifest = {
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: described('application/vnd.oci.image.config.v1+json', configuration),
    layers: blobs.map((bytes) => described('application/vnd.oci.image.layer.v1.tar+gzip', bytes)),
  }
  change(manifest)
  const bytes = Buffer.from(JSON.stringify(manifest))
  return new Map<string, Page>([
    ['manifests/latest', { type: MANIFEST, bytes }],
    [`manifests/${digestOf(bytes)}`, { type: MANIFEST, bytes }],
    ...[configuration, ...blobs].map(
      (blob) => [`blobs/${digestOf(blob)}`, { type: 'application/octet-stream', bytes: blob }] as const,
    ),
  ])
}

/** As the repository `team/app`, for `scriptedRegistry`. */
export function serve(pages: Pages) {
  return ({ url = '', headers }: IncomingMessage, response: ServerResponse): void => {
    const page = pages.get(url.replace('/v2/team/app/', ''))
    const [, start] = /^bytes=([0-9]+)-$/.exec(headers.range ?? '') ?? []
    if (page === undefined) return void response.writeHead(404).end()
    const { type, bytes } = page
    if (start === undefined) return void response.writeHead(200, { 'content-type': type }).end(bytes)
    const range = { 'content-type': type, 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` }
    response.writeHead(206, range).end(bytes.subarray(Number(start)))
  }
}
