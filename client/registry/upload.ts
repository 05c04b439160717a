/**
 * One blob on its way into a repository. A session is opened (or taken up again, where an earlier push was killed), and the bytes go with the request that
 * closes it with their digest, as containerd and oras send them. When the connection breaks, or the registry has no time, it is asked how much it has, and gets the rest. What a
 * registry cannot do is found out by what it answers: a stream that is too long for it goes in chunks, one without PATCH gets everything again.
 */
import type { Arrival, PutBlob } from './endpoint.ts'
import { isBrokenConnection, isBusy, RegistryMisbehaves, RegistryRefusal, RegistryUnreachable } from './refusals.ts'
import { type Answer, discard, type Transport } from './transport.ts'

/** Up to here a blob is sent again, and not gone on with. */
const ONE_REQUEST_BYTES = 4 * 1024 * 1024
/** For registries, or proxies before them, that refuse large bodies; doubled is what they tend to allow. */
const CHUNK_BYTES = 16 * 1024 * 1024
const SMALLEST_CHUNK_BYTES = 1024 * 1024
const STALLED_ATTEMPTS = 5
const GONE_ATTEMPTS = 3
/** A registry may still be writing what it received before the connection broke. */
const STATUS_ATTEMPTS = 3
/** What is sent within less time is as soon sent again: most pushes need not write anything down. */
const REMEMBER_AFTER_MS = 1000

/** Of the uploads that are under way, for whoever pushes the same after we were killed. Keyed by what it is and where it goes. */
export interface UploadJournal {
  find(key: string): Promise<string | undefined>
  remember(key: string, location: string): Promise<void>
  forget(key: string): Promise<void>
}

interface Session {
  readonly location: URL
  /** What the registry said it has. */
  readonly offset: number
  /** Smaller chunks than this it refuses, but for the last. */
  readonly smallestChunkBytes: number
}

/** The session is no more. */
class SessionGone extends Error {}

export class BlobUpload {
  readonly #transport: Transport
  readonly #repository: string
  readonly #blob: PutBlob
  readonly #journal: UploadJournal | undefined
  readonly #key: string
  /** Learnt from what the registry refuses. */
  #way: 'stream' | 'chunks' | 'whole'
  #chunkBytes = CHUNK_BYTES
  #location: URL | undefined
  /** It is, or will be, in the journal. */
  #isRemembered = false
  #remembering = Promise.resolve()

  constructor(transport: Transport, repository: string, blob: PutBlob, journal?: UploadJournal) {
    this.#transport = transport
    this.#repository = repository
    this.#blob = blob
    this.#journal = blob.sizeBytes > ONE_REQUEST_BYTES ? journal : undefined
    this.#key = `${transport.registry}/${repository}@${blob.digest}`
    this.#way = blob.sizeBytes > ONE_REQUEST_BYTES ? 'stream' : 'whole'
  }

  /** Throws what the source throws, `RegistryRefusal`, `RegistryUnreachable`. */
  async run(): Promise<Arrival> {
    const late = setTimeout(() => this.#writeDown(), REMEMBER_AFTER_MS)
    try {
      const arrival = await this.#run().finally(() => clearTimeout(late)) // or it is written down while it is forgotten
      await this.#remembering
      if (this.#isRemembered) await this.#journal?.forget(this.#key)
      return arrival
    } catch (error) {
      this.#writeDown()
      await this.#remembering
      throw error
    }
  }

  async #run(): Promise<Arrival> {
    let known = await this.#earlier()
    for (let gone = 0, stalled = 0; ; ) {
      const session: Session | 'mounted' = known ?? (await this.#open())
      if (session === 'mounted') return 'mounted'
      known = undefined
      const before = session.offset
      try {
        await this.#send(session)
        return 'sent'
      } catch (error) {
        this.#blob.signal?.throwIfAborted()
        if (this.#otherWay(error)) continue
        if (error instanceof SessionGone && ++gone < GONE_ATTEMPTS) {
          if (await this.#isThere()) return 'sent'
          continue
        }
        const busy = error instanceof RegistryRefusal && isBusy(error.status) ? error : undefined
        if (!busy && !isBrokenConnection(error) && !isOutOfStep(error)) throw this.#explained(error)
        await this.#transport.pause(1, busy?.retryAfterMs, this.#blob.signal)
        known = this.#way === 'whole' ? undefined : await this.#status(session.location)
        if (known === undefined && (await this.#isThere())) return 'sent' // it was closed, and only the answer was lost
        stalled = known !== undefined && known.offset > before ? 0 : stalled + 1
        if (stalled >= STALLED_ATTEMPTS && busy) throw busy
        if (stalled >= STALLED_ATTEMPTS)
          throw new RegistryUnreachable(
            `the connection broke ${stalled} times while ${this.#blob.digest} was sent, after ${known?.offset ?? 0} of ${this.#blob.sizeBytes} bytes`,
            { cause: error },
          )
        if (stalled > 0) await this.#transport.pause(stalled, undefined, this.#blob.signal)
      }
    }
  }

  async #isThere(): Promise<boolean> {
    const path = `/v2/${this.#repository}/blobs/${this.#blob.digest}`
    const answer = await this.#transport.ask({
      method: 'HEAD',
      path,
      scopes: this.#scopes,
      expected: [404],
      signal: this.#blob.signal,
    })
    await discard(answer)
    return answer.status === 200
  }

  /** A session of an earlier push, with what it brought. */
  async #earlier(): Promise<Session | undefined> {
    const location = await this.#journal?.find(this.#key)
    if (location === undefined || !URL.canParse(location)) return undefined
    this.#isRemembered = true
    const session = await this.#status(new URL(location)).catch(() => undefined) // whatever it is, a new session is always right
    return session && session.offset <= this.#blob.sizeBytes ? session : undefined
  }

  /** In vain from neighbours that turn out not to have it: the answer is then a session, as if nothing had been asked. */
  async #open(): Promise<Session | 'mounted'> {
    const { digest, mountFrom = [] } = this.#blob
    for (const from of mountFrom) {
      const answer = await this.#post(`?mount=${digest}&from=${encodeURIComponent(from)}`, [`repository:${from}:pull`])
      if (answer?.status === 201) return 'mounted'
      if (answer) return await this.#sessionOf(answer)
    }
    const answer = await this.#post(digest.startsWith('sha256:') ? '' : `?digest-algorithm=${digest.split(':')[0]}`)
    return await this.#sessionOf(answer as Answer)
  }

  /** `undefined` for a mount that was refused. */
  async #post(query: string, more: readonly string[] = []): Promise<Answer | undefined> {
    try {
      const answer = await this.#transport.ask({
        method: 'POST',
        path: `/v2/${this.#repository}/blobs/uploads/${query}`,
        scopes: [...this.#scopes, ...more],
        headers: { 'content-length': '0' },
        signal: this.#blob.signal,
      })
      await discard(answer)
      return answer
    } catch (error) {
      if (more.length > 0 && error instanceof RegistryRefusal && [400, 401, 403, 404, 405].includes(error.status))
        return undefined
      throw error
    }
  }

  async #sessionOf(answer: Answer): Promise<Session> {
    const location = answer.header('location')
    if (answer.status !== 202 || location === undefined)
      throw new RegistryMisbehaves(
        `${this.#transport.registry} answered ${answer.status} where it should have opened an upload session`,
      )
    const session = {
      location: this.#transport.locate(location, answer.url),
      offset: 0,
      smallestChunkBytes: Number(answer.header('oci-chunk-min-length') ?? 0) || 0,
    }
    this.#remember(session.location)
    return session
  }

  #remember(location: URL): void {
    this.#location = location
    if (this.#isRemembered) this.#writeDown()
  }

  #writeDown(): void {
    const { href } = this.#location ?? {}
    if (href === undefined || this.#journal === undefined) return
    this.#isRemembered = true
    const before = this.#remembering
    const journal = this.#journal
    this.#remembering = before.then(() => journal.remember(this.#key, href))
  }

  /** Everything from the session's offset on, and what it should be. */
  async #send({ location: first, offset: from, smallestChunkBytes }: Session): Promise<void> {
    const { sizeBytes } = this.#blob
    if (this.#way !== 'chunks' && from === 0) return await this.#close(first, 0)
    const step = this.#way === 'stream' ? sizeBytes : Math.max(this.#chunkBytes, smallestChunkBytes)
    let location = first
    for (let offset = from; offset < sizeBytes; ) {
      const end = Math.min(sizeBytes, offset + step)
      const answer = await this.#request('PATCH', location, offset, end)
      const next = answer.header('location')
      if (next !== undefined) location = this.#transport.locate(next, answer.url)
      const has = rangeEnd(answer)
      if (has !== undefined && has < end)
        throw new RegistryRefusal(`it has kept ${has} of ${end} bytes`, 416, 'RANGE_INVALID')
      this.#remember(location)
      offset = end
    }
    await this.#close(location, sizeBytes)
  }

  /** With the bytes from `fromByte` on. */
  async #close(location: URL, fromByte: number): Promise<void> {
    const url = new URL(location)
    url.search += `${url.search ? '&' : '?'}digest=${encodeURIComponent(this.#blob.digest)}` // what is there is the registry's, and stays as it is
    await this.#request('PUT', url, fromByte, this.#blob.sizeBytes)
  }

  async #request(method: 'PATCH' | 'PUT', url: URL, start: number, end: number): Promise<Answer> {
    const { open, direct, onBytes, signal } = this.#blob
    async function* part(): AsyncGenerator<Uint8Array> {
      let at = start
      for await (const chunk of open(start)) {
        const taken = chunk.subarray(0, end - at)
        at += taken.length
        yield taken
        onBytes?.(at)
        if (at === end) return
      }
    }
    const ranged = method === 'PATCH' ? { 'content-range': `${start}-${end - 1}` } : {}
    const isEmpty = end === start
    const moved = direct && {
      direct: () => direct({ fromByte: start, lengthBytes: end - start }),
      onDirectBytes: (sent: number) => onBytes?.(start + sent),
    }
    try {
      const answer = await this.#transport.ask({
        method,
        path: url,
        scopes: this.#scopes,
        headers: {
          'content-type': 'application/octet-stream',
          ...ranged,
          ...(isEmpty ? { 'content-length': '0' } : {}),
        },
        ...(isEmpty ? {} : { body: { sizeBytes: end - start, open: part, ...moved } }),
        attempts: isEmpty ? 5 : 1, // an empty closing request may be repeated; a body goes on where it broke
        signal,
      })
      await discard(answer)
      return answer
    } catch (error) {
      if (error instanceof RegistryRefusal && error.status === 404)
        throw new SessionGone(error.message, { cause: error })
      throw error
    }
  }

  /** How much of it the registry has; `undefined` if it does not know the session (any more), or does not say. */
  async #status(location: URL): Promise<Session | undefined> {
    for (let attempt = 1; attempt <= STATUS_ATTEMPTS; attempt++) {
      const answer = await this.#transport.ask({
        method: 'GET',
        path: location,
        scopes: this.#scopes,
        expected: [400, 403, 404, 405],
        signal: this.#blob.signal,
      })
      await discard(answer)
      if (answer.status >= 400) return undefined
      const next = answer.header('location')
      const offset = rangeEnd(answer)
      if (offset === undefined) return undefined
      const session = {
        location: next === undefined ? location : this.#transport.locate(next, answer.url),
        offset,
        smallestChunkBytes: Number(answer.header('oci-chunk-min-length') ?? 0) || 0,
      }
      if (offset > 1) return session
      await this.#transport.pause(attempt, undefined, this.#blob.signal) // "0-0" is one byte or none: a fresh session is cheaper than a wrong guess
    }
    return undefined
  }

  /** True if what was refused can be done in another way, which is then taken. */
  #otherWay(error: unknown): boolean {
    if (!(error instanceof RegistryRefusal)) return false
    if (error.status === 413 && this.#way === 'stream') {
      this.#way = 'chunks'
      return true
    }
    if (error.status === 413 && this.#way === 'chunks' && this.#chunkBytes / 2 >= SMALLEST_CHUNK_BYTES) {
      this.#chunkBytes /= 2
      return true
    }
    if (error.status === 413 && this.#way === 'whole' && this.#blob.sizeBytes > SMALLEST_CHUNK_BYTES) {
      this.#way = 'chunks'
      this.#chunkBytes = SMALLEST_CHUNK_BYTES
      return true
    }
    if ([405, 501].includes(error.status) && this.#way !== 'whole') {
      this.#way = 'whole'
      return true
    }
    return false
  }

  #explained(error: unknown): unknown {
    if (error instanceof SessionGone) return error.cause
    if (error instanceof RegistryRefusal && error.status === 413)
      return new RegistryRefusal(
        `${error.message}. Whatever stands before the registry allows no bodies of ${SMALLEST_CHUNK_BYTES} bytes: raise its limit (nginx: client_max_body_size 0)`,
        413,
        error.code,
        { cause: error },
      )
    return error
  }

  get #scopes(): readonly string[] {
    return [`repository:${this.#repository}:pull,push`]
  }
}

/** We and the registry count differently: it says where it is, and we go on from there. */
const isOutOfStep = (error: unknown): boolean => error instanceof RegistryRefusal && error.status === 416

/** `Range: 0-9` is ten bytes. */
function rangeEnd(answer: Answer): number | undefined {
  const [, end] = /^(?:bytes=)?0-([0-9]+)$/.exec(answer.header('range') ?? '') ?? []
  return end === undefined ? undefined : Number(end) + 1
}
