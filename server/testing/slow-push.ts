/** The steps of an upload, one at a time, by what the registry answers to each. */
import assert from 'node:assert/strict'

/** A session in repository `a`. */
export async function begin(url: string): Promise<URL> {
  const { headers, status } = await fetch(`${url}/v2/a/blobs/uploads/`, { method: 'POST' })
  assert.equal(status, 202)
  return new URL(headers.get('location') ?? '', url)
}

/** `reason` is what a refusal gives. */
export async function send(
  method: string,
  to: URL,
  bytes?: Buffer,
): Promise<{ status: number; location: URL; reason: string; range: string }> {
  const answer = await fetch(to, { method, ...(bytes ? { body: new Uint8Array(bytes) } : {}) })
  const text = await answer.text()
  const isFailure = answer.status >= 400 && text !== ''
  const { errors } = (isFailure ? JSON.parse(text) : {}) as { errors?: { detail?: { reason?: string } }[] }
  return {
    status: answer.status,
    location: new URL(answer.headers.get('location') ?? to, to),
    range: answer.headers.get('range') ?? '',
    reason: errors?.[0]?.detail?.reason ?? '',
  }
}

/** Resolves to the status. */
export async function close(location: URL, digest: string, rest: Buffer): Promise<number> {
  const to = new URL(location)
  to.searchParams.set('digest', digest)
  return (await send('PUT', to, rest)).status
}
