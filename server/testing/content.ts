/** Content to push, and the ways to push it that tests take when the pushing is not what they are about. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import type { ServedApp } from './served-app.ts'

export const sha256 = (bytes: Uint8Array | string): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`
export const sha512 = (bytes: Uint8Array | string): string =>
  `sha512:${createHash('sha512').update(bytes).digest('hex')}`
export const someBytes = (size: number): Buffer => randomBytes(size)

export const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json'
const EMPTY_JSON = '{}'

export async function pushBlob(app: ServedApp, name: string, bytes: Uint8Array | string): Promise<string> {
  const digest = sha256(bytes)
  const answer = await app.ask('POST', `/v2/${name}/blobs/uploads/?digest=${digest}`, { body: bytes })
  assert.equal(answer.status, 201, answer.body.toString())
  return digest
}

/** The text of a manifest whose config blob this pushes. `fields` are added to it. */
export async function aManifest(app: ServedApp, name: string, fields: object = {}): Promise<string> {
  const digest = await pushBlob(app, name, EMPTY_JSON)
  const config = { mediaType: 'application/vnd.oci.empty.v1+json', digest, size: EMPTY_JSON.length }
  return JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST_TYPE, config, layers: [], ...fields })
}

/** Pushes a manifest as `name:tag` and returns its digest. */
export async function pushManifest(app: ServedApp, name: string, tag: string, fields: object = {}): Promise<string> {
  const body = await aManifest(app, name, fields)
  const answer = await app.ask('PUT', `/v2/${name}/manifests/${tag}`, {
    headers: { 'Content-Type': MANIFEST_TYPE },
    body,
  })
  assert.equal(answer.status, 201, answer.body.toString())
  return sha256(body)
}
