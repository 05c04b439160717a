/** Large content over the wire without holding it: pushed as docker pushes (POST, one chunked PATCH, PUT), pulled and hashed. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { finished } from 'node:stream/promises'

const MIB = 1024 * 1024

/** `size` bytes that do not compress, made again each time they are asked for. */
export class Content {
  readonly size: number
  readonly #block: Buffer

  constructor(size: number, block: Buffer = randomBytes(MIB)) {
    this.size = size
    this.#block = block
  }

  /** Every piece differs from the others in its first bytes. */
  *pieces(): Generator<Buffer> {
    for (let offset = 0; offset < this.size; offset += MIB) {
      const piece = Buffer.from(this.#block.subarray(0, Math.min(MIB, this.size - offset)))
      if (piece.length >= 8) piece.writeBigUInt64LE(BigInt(offset), 0)
      yield piece
    }
  }

  digest(): string {
    const hash = createHash('sha256')
    for (const piece of this.pieces()) hash.update(piece)
    return `sha256:${hash.digest('hex')}`
  }
}

/** Resolves when the registry at `url` has acknowledged the blob. */
export async function pushBlob(url: string, name: string, content: Content, digest: string): Promise<void> {
  const session = await ended(request(`${url}/v2/${name}/blobs/uploads/`, { method: 'POST' }))
  assert.equal(session.statusCode, 202)
  const patch = request(new URL(session.headers.location ?? '', url), { method: 'PATCH' })
  const patched = once(patch, 'response') as Promise<[IncomingMessage]>
  patched.catch(() => {}) // awaited below
  for (const piece of content.pieces()) if (!patch.write(piece)) await Promise.race([once(patch, 'drain'), patched])
  patch.end()
  const [accepted] = await patched
  await finished(accepted.resume())
  assert.equal(accepted.statusCode, 202)
  const end = new URL(accepted.headers.location ?? '', url)
  end.searchParams.set('digest', digest)
  assert.equal((await ended(request(end, { method: 'PUT' }))).statusCode, 201)
}

/** The digest of what the registry answers. */
export async function pullBlob(url: string, name: string, digest: string): Promise<string> {
  const asking = request(`${url}/v2/${name}/blobs/${digest}`).end()
  const [answer] = (await once(asking, 'response')) as [IncomingMessage]
  assert.equal(answer.statusCode, 200)
  const hash = createHash('sha256')
  for await (const piece of answer) hash.update(piece as Buffer)
  return `sha256:${hash.digest('hex')}`
}

/** Reads it to the end and forgets it: for measuring, where hashing would cost more than the answer. */
export async function drainBlob(url: string, name: string, digest: string): Promise<void> {
  const answer = await ended(request(`${url}/v2/${name}/blobs/${digest}`))
  assert.equal(answer.statusCode, 200)
}

async function ended(asking: ClientRequest): Promise<IncomingMessage> {
  asking.end()
  const [answer] = (await once(asking, 'response')) as [IncomingMessage]
  await finished(answer.resume())
  return answer
}
