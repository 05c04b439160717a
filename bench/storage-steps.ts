/** The single requests of a push, so that each can be timed and counted. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { finished } from 'node:stream/promises'

const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'
const IMAGE_TYPE = 'application/vnd.oci.image.manifest.v1+json'
const CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json'

export function expectStatus({ status, url }: Pick<Response, 'status' | 'url'>, wanted: number, what: string): void {
  if (status !== wanted) throw new Error(`${what} was answered ${status}, not ${wanted} (${url})`)
}

/** Resolves to the session's Location. */
export async function startUpload(url: string, name: string): Promise<string> {
  const response = await fetch(`${url}/v2/${name}/blobs/uploads/`, { method: 'POST' })
  await response.arrayBuffer()
  expectStatus(response, 202, 'POST')
  return response.headers.get('Location') ?? ''
}

/** One PATCH of unknown length, as docker sends it. Resolves to the next Location. */
export async function append(url: string, location: string, pieces: Iterable<Uint8Array>): Promise<string> {
  const patch = request(new URL(location, url), { method: 'PATCH' })
  const answered = once(patch, 'response') as Promise<[IncomingMessage]>
  answered.catch(() => {}) // awaited below
  for (const piece of pieces) if (!patch.write(piece)) await Promise.race([once(patch, 'drain'), answered])
  patch.end()
  const [answer] = await answered
  await finished(answer.resume())
  expectStatus({ status: answer.statusCode ?? 0, url: location }, 202, 'PATCH')
  return answer.headers.location ?? ''
}

export async function close(
  url: string,
  location: string,
  digest: string,
  bytes?: Uint8Array<ArrayBuffer>,
): Promise<void> {
  const end = new URL(location, url)
  end.searchParams.set('digest', digest)
  const response = await fetch(end, { method: 'PUT', ...(bytes ? { body: bytes } : {}) })
  await response.arrayBuffer()
  expectStatus(response, 201, 'the closing PUT')
}

/** An index of nothing, or an image of one blob. Resolves to its digest. */
export async function putManifest(
  url: string,
  name: string,
  tag: string,
  {
    blob,
    annotations = {},
  }: {
    readonly blob?: { readonly digest: string; readonly size: number }
    readonly annotations?: Readonly<Record<string, string>>
  } = {},
): Promise<string> {
  const mediaType = blob ? IMAGE_TYPE : INDEX_TYPE
  const content = blob ? { config: { mediaType: CONFIG_TYPE, ...blob }, layers: [] } : { manifests: [] }
  const body = JSON.stringify({ schemaVersion: 2, mediaType, ...content, annotations })
  const headers = { 'Content-Type': mediaType }
  const response = await fetch(`${url}/v2/${name}/manifests/${tag}`, { method: 'PUT', headers, body })
  await response.arrayBuffer()
  expectStatus(response, 201, 'PUT of a manifest')
  return `sha256:${createHash('sha256').update(body).digest('hex')}`
}
