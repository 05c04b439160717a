/**
 * A client that pushes, moves and deletes, in repositories of its own, by a script that chance writes; each time that it is cut off it
 * asks how far it came, of whoever answers, and goes on. What it was told goes into its ledgers. It throws a `Violation` when an answer
 * contradicts an earlier one.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type Answer, ask, type Outcome, type Question } from './http.ts'
import { GONE, May, RepositoryLedger, sha256 } from './ledger.ts'
import { contentOf, type Random } from './random.ts'

export class Violation extends Error {
  override readonly name = 'Violation'
}

/** What was committed has filled the disk for good: the episode ends with what there is. */
class NoRoom extends Error {
  override readonly name = 'NoRoom'
}

const MIB = 1024 * 1024
const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json'
const EMPTY = 'application/vnd.oci.empty.v1+json'
/** Nobody answers for so long: the fleet is gone. */
const PATIENCE_MS = 120_000
/** Refusals without a break, each with its pause: longer than the filler keeps the room that it took. */
const FULL_FOR_GOOD = 40
const TAGS = ['a', 'b', 'latest']

export interface Shared {
  readonly urls: readonly string[]
  readonly signal: AbortSignal
  /** Resolves when nothing is under way that anybody who died has asked of the storage. */
  readonly settled: () => Promise<void>
  /** False versions of records that the registry was told. */
  readonly lies: () => number
  /** At most so much of what was sent may have to be sent again. */
  readonly resentBytes: number
  /** The disk may be full for good. */
  readonly fills: boolean
  /** The largest blob. */
  readonly largestBytes: number
  readonly figures: Figures
}

export interface Figures {
  operations: number
  acknowledged: number
  resumed: number
  /** Refused as somebody else's because of a false version. */
  misled: number
  mostResentBytes: number
}

export class Actor {
  readonly name: string
  readonly repositories: readonly RepositoryLedger[]
  readonly #shared: Shared
  readonly #random: Random
  /** The last things that it did, for a report. */
  readonly history: string[] = []

  constructor(name: string, shared: Shared, random: Random) {
    this.name = name
    this.#shared = shared
    this.#random = random
    this.repositories = [new RepositoryLedger(`faults/${name}`), new RepositoryLedger(`faults/${name}-other`)]
  }

  /** Until the signal says that it is enough. */
  async work(): Promise<void> {
    for (let turn = 0; !this.#shared.signal.aborted; turn += 1) {
      const random = this.#random.fork(turn)
      const repository = random.pick(this.repositories)
      this.#shared.figures.operations += 1
      const act = random.weighted({ push: 8, manifest: 6, mount: 2, untag: 1, deleteManifest: 1, deleteBlob: 1 })
      this.#note(`${turn} ${act} ${repository.name}`)
      try {
        await this.#act(act, random, repository, `${this.name} ${turn}`)
      } catch (error) {
        if (error instanceof NoRoom) return
        throw error
      }
    }
  }

  async #act(act: string, random: Random, repository: RepositoryLedger, name: string): Promise<void> {
    switch (act) {
      case 'push':
        return await this.#push(random, repository, name)
      case 'manifest':
        return await this.#putManifest(random, repository, name)
      case 'mount':
        return await this.#mount(random, repository)
      case 'untag':
        return await this.#removeTag(random, repository)
      case 'deleteManifest':
        return await this.#removeManifest(random, repository)
      default:
        return await this.#removeBlob(random, repository)
    }
  }

  async #push(random: Random, repository: RepositoryLedger, name: string): Promise<void> {
    const kind = random.weighted({ small: 6, middle: 4, large: 1 })
    const size = { small: 40_000, middle: 3 * MIB, large: this.#shared.largestBytes }[kind]
    // Some contents are everybody's, so that the same blob is published at the same time.
    const content = random.chance(0.15)
      ? contentOf(`everybody ${random.below(3)}`, 70_000)
      : contentOf(name, 1 + random.below(size))
    const digest = sha256(content)
    const linked = repository.blob(digest, content.length)
    if (random.chance(0.25)) return await this.#pushAtOnce(random, repository, digest, content, linked)
    await this.#upload(random, repository, digest, content, linked)
  }

  async #pushAtOnce(
    random: Random,
    { name }: RepositoryLedger,
    digest: string,
    content: Buffer,
    linked: May<boolean>,
  ): Promise<void> {
    const headers = { 'Content-Type': 'application/octet-stream' }
    for (let tries = 0; tries < 3; tries += 1) {
      linked.mayBe(true)
      const answer = await this.#once(random, 'POST', `/v2/${name}/blobs/uploads/?digest=${digest}`, {
        headers,
        body: content,
      })
      if (this.#is(answer, 201)) return linked.is(true)
      if (answer?.status === 416) this.#demandLie(answer)
      else this.#demandTrouble(answer, 'a blob in one request')
    }
  }

  /** A session, from its beginning to one of its ends, through whatever happens. */
  async #upload(
    random: Random,
    { name }: RepositoryLedger,
    digest: string,
    content: Buffer,
    linked: May<boolean>,
  ): Promise<void> {
    const begun = await this.#until(random, 'POST', `/v2/${name}/blobs/uploads/`, 202)
    const end = random.weighted({ commit: 12, cancel: 1, abandon: 1, wrongDigest: 1 })
    // Whoever does not come back, or thinks better of it, has sent something.
    const wanted = end === 'commit' || end === 'wrongDigest' ? content.length : random.below(content.length)
    let location = locationOf(begun)
    let acknowledged = 0
    let sent = 0
    let closing = false
    let full = 0
    for (let tries = 0; ; tries += 1) {
      if (tries > 60 && this.#shared.fills && full > 10) return // nobody makes room
      if (tries > 60) throw new Violation(`${digest} of ${content.length} bytes does not get beyond ${acknowledged}`)
      if (tries > 0 || random.chance(0.1)) {
        const status = await this.#answered(random, 'GET', location)
        if (status.status === 404 && closing && end === 'wrongDigest') return // refused, and nobody heard it
        if (status.status === 404 && closing) return await this.#closeAgain(random, location, digest, linked)
        if (status.status !== 204) throw new Violation(`the upload ${location} is lost: ${said(status)}`)
        location = locationOf(status)
        const offset = offsetOf(location)
        if (offset < acknowledged) throw new Violation(`${location}: ${acknowledged} bytes were acknowledged`)
        if (offset > content.length) throw new Violation(`${location}: only ${content.length} bytes were sent`)
        this.#shared.figures.resumed += 1
        this.#shared.figures.mostResentBytes = Math.max(this.#shared.figures.mostResentBytes, sent - offset)
        if (sent - offset > this.#shared.resentBytes)
          throw new Violation(`${location}: ${sent} bytes were sent, far more`)
        acknowledged = offset
      }
      const left = content.subarray(acknowledged, Math.max(acknowledged, wanted))
      if (end === 'abandon' && left.length === 0) return
      if (end === 'cancel' && left.length === 0) return await this.#cancel(random, location)
      const style = random.weighted({ close: end === 'commit' ? 2 : 0, chunk: 3, stream: 3, duel: 1, halfOpen: 1 })
      const closes = left.length === 0 || style === 'close'
      if (closes) {
        closing = true
        if (end === 'commit') linked.mayBe(true)
        const named = end === 'commit' ? digest : sha256(`not ${digest}`)
        const headers = left.length === 0 ? {} : { 'Content-Range': rangeOf(acknowledged, left) }
        sent = Math.max(sent, acknowledged + left.length)
        const answer = await this.#once(random, 'PUT', `${location}?digest=${named}`, { headers, body: left })
        if (end === 'commit' && this.#is(answer, 201)) return linked.is(true)
        if (end === 'wrongDigest' && answer?.status === 400) return
        if (end === 'wrongDigest' && answer?.status === 404 && tries > 0) return
        this.#demandTrouble(answer, `closing ${location}`, [404, 416])
        if (answer?.status === 507) full += 1
        continue
      }
      const answer = await this.#send(random, style, location, acknowledged, left, (bytes) => {
        sent = Math.max(sent, bytes)
      })
      if (this.#is(answer, 202)) {
        location = locationOf(answer as Answer)
        acknowledged = Math.max(acknowledged, offsetOf(location))
      } else this.#demandTrouble(answer, `a chunk of ${location}`, [416])
      if (answer?.status === 507) full += 1
    }
  }

  async #send(
    random: Random,
    style: 'chunk' | 'stream' | 'duel' | 'halfOpen' | 'close',
    location: string,
    offset: number,
    left: Buffer,
    sent: (bytes: number) => void,
  ): Promise<Outcome> {
    if (style === 'chunk') {
      const body = left.subarray(0, 1 + random.below(left.length))
      sent(offset + body.length)
      return await this.#once(random, 'PATCH', location, { headers: { 'Content-Range': rangeOf(offset, body) }, body })
    }
    let out = offset
    const onSent = (bytes: number): void => {
      out += bytes
      sent(out)
    }
    const stream = (piece: number, forever = false): Question => ({
      pieces: piecesOf(left, piece, forever),
      sent: onSent,
    })
    if (style === 'duel') {
      // Two clients on one session, with the same bytes: at most one of them gets its answer.
      const both = [0, 1].map(() => this.#once(random, 'PATCH', location, { pieces: piecesOf(left, 50_000) }))
      sent(offset + left.length)
      const answers = await Promise.all(both)
      return answers.find((answer) => answer?.status === 202) ?? answers[0]
    }
    if (style === 'halfOpen') {
      const gone = new AbortController()
      void this.#once(random, 'PATCH', location, { pieces: piecesOf(left, 60_000, true, gone.signal), sent: onSent })
      await delay(random.below(200))
      setTimeout(() => gone.abort(), 5_000).unref() // long after somebody else went on
      return undefined
    }
    return await this.#once(random, 'PATCH', location, stream(1 + random.below(200_000)))
  }

  /** The answer to a closing request was lost, and the session is open no more. */
  async #closeAgain(random: Random, location: string, digest: string, linked: May<boolean>): Promise<void> {
    const answer = await this.#answered(random, 'PUT', `${location}?digest=${digest}`)
    if (answer.status !== 201) throw new Violation(`the closed upload ${location} is lost: ${said(answer)}`)
    linked.is(true)
  }

  async #cancel(random: Random, location: string): Promise<void> {
    for (let tries = 0; tries < 20; tries += 1) {
      const answer = await this.#once(random, 'DELETE', location)
      if (answer?.status === 204 || (tries > 0 && answer?.status === 404)) return
      this.#demandTrouble(answer, `cancelling ${location}`, [416])
    }
  }

  async #putManifest(random: Random, repository: RepositoryLedger, name: string): Promise<void> {
    const blobs = repository.certainBlobs()
    if (blobs.length === 0) return
    const its = [random.pick(blobs), random.pick(blobs)]
    const describe = (digest = '') => ({ mediaType: EMPTY, digest, size: repository.blobs.get(digest)?.sizeBytes })
    const known = repository.certainManifests()
    const subject = known.length > 0 && random.chance(0.3) ? random.pick(known) : undefined
    const again = known.length > 0 && random.chance(0.15) ? random.pick(known) : undefined
    const made = JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      artifactType: 'application/vnd.gantry.fault',
      config: describe(its[0]),
      layers: [describe(its[1])],
      ...(subject === undefined
        ? {}
        : {
            subject: {
              mediaType: MANIFEST_TYPE,
              digest: subject,
              size: repository.manifests.get(subject)?.bytes.length,
            },
          }),
      annotations: { name },
    })
    const body = again === undefined ? made : (repository.manifests.get(again)?.bytes ?? made)
    const digest = sha256(body)
    const pushed = repository.manifests.get(digest) ?? { bytes: body, subject, blobs: its, live: new May(false) }
    repository.manifests.set(digest, pushed)
    const { live } = pushed
    const complete = repository.isComplete(pushed) // one that is pushed again may have lost a blob since
    const tag = random.chance(0.8) ? random.pick(TAGS) : undefined
    const points = tag === undefined ? undefined : repository.tag(tag)
    for (let tries = 0; tries < 3; tries += 1) {
      live.mayBe(true)
      points?.mayBe(digest)
      const answer = await this.#once(random, 'PUT', `/v2/${repository.name}/manifests/${tag ?? digest}`, {
        headers: { 'Content-Type': MANIFEST_TYPE },
        body: Buffer.from(body),
      })
      if (complete !== true && answer?.status === 400 && answer.body.includes('MANIFEST_BLOB_UNKNOWN')) return
      if (this.#is(answer, 201)) {
        if (complete === false) throw new Violation(`${digest} was taken without its blobs`)
        live.is(true)
        points?.is(digest)
        return
      }
      this.#demandTrouble(answer, `the manifest ${digest}`)
    }
  }

  async #mount(random: Random, repository: RepositoryLedger): Promise<void> {
    const from = this.repositories.find((one) => one !== repository) as RepositoryLedger
    const blobs = from.certainBlobs()
    if (blobs.length === 0) return
    const digest = random.pick(blobs)
    const linked = repository.blob(digest, from.blobs.get(digest)?.sizeBytes ?? 0)
    linked.mayBe(true)
    const answer = await this.#once(
      random,
      'POST',
      `/v2/${repository.name}/blobs/uploads/?mount=${digest}&from=${from.name}`,
    )
    if (this.#is(answer, 201)) return linked.is(true)
    if (answer?.status === 202) throw new Violation(`${from.name} has ${digest}, and it cannot be mounted`)
    this.#demandTrouble(answer, 'a mount')
  }

  async #removeTag(random: Random, repository: RepositoryLedger): Promise<void> {
    const tags = [...repository.tags.keys()]
    if (tags.length === 0) return
    const tag = random.pick(tags)
    const points = repository.tag(tag)
    const certain = !points.has(GONE)
    points.mayBe(GONE)
    const answer = await this.#once(random, 'DELETE', `/v2/${repository.name}/manifests/${tag}`)
    if (this.#is(answer, 202)) return points.is(GONE)
    if (answer?.status === 404 && certain)
      throw new Violation(`the tag ${tag} of ${repository.name} is gone: ${points}`)
    await this.#undone(answer, 'deleting a tag')
  }

  async #removeManifest(random: Random, repository: RepositoryLedger): Promise<void> {
    const manifests = [...repository.manifests]
    if (manifests.length === 0) return
    const [digest, { live }] = random.pick(manifests)
    const certain = live.must(true)
    const its = [...repository.tags.values()].filter((points) => points.has(digest))
    live.mayBe(false)
    for (const points of its) points.mayBe(GONE)
    const answer = await this.#once(random, 'DELETE', `/v2/${repository.name}/manifests/${digest}`)
    if (this.#is(answer, 202)) {
      live.is(false)
      for (const points of its) points.isNot(digest)
      return
    }
    if (answer?.status === 404 && certain) throw new Violation(`the manifest ${digest} of ${repository.name} is gone`)
    await this.#undone(answer, 'deleting a manifest')
  }

  async #removeBlob(random: Random, repository: RepositoryLedger): Promise<void> {
    const blobs = [...repository.blobs]
    if (blobs.length === 0) return
    const [digest, { linked }] = random.pick(blobs)
    const certain = linked.must(true)
    linked.mayBe(false)
    const answer = await this.#once(random, 'DELETE', `/v2/${repository.name}/blobs/${digest}`)
    if (this.#is(answer, 202)) return linked.is(false)
    if (answer?.status === 404 && certain) throw new Violation(`the blob ${digest} of ${repository.name} is gone`)
    await this.#undone(answer, 'deleting a blob')
  }

  #is(answer: Outcome, status: number): boolean {
    if (answer?.status !== status) return false
    this.#shared.figures.acknowledged += 1
    return true
  }

  /**
   * A deletion that nobody answered may come at any time while a request of it is under way, also after a push that found the thing
   * still there: no push would be certain. So it is waited for.
   */
  async #undone(answer: Outcome, doing: string): Promise<void> {
    this.#demandTrouble(answer, doing, [404])
    if (answer?.status !== 404) await this.#shared.settled()
  }

  /** Nobody else knows the session of a blob that comes in one request: only the false version of a record looks like somebody else's. */
  #demandLie(answer: Answer): void {
    this.#shared.figures.misled += 1
    if (this.#shared.figures.misled > this.#shared.lies()) throw new Violation(`a blob in one request: ${said(answer)}`)
  }

  /** Nobody answered, or somebody who cannot now: anything else is an answer that these requests do not deserve. */
  #demandTrouble(answer: Outcome, doing: string, also: readonly number[] = []): void {
    if (answer === undefined || answer.status >= 500 || answer.status === 429 || also.includes(answer.status)) return
    throw new Violation(`${doing}: ${said(answer)}`)
  }

  async #once(random: Random, method: string, path: string, question?: Question): Promise<Outcome> {
    const url = random.pick(this.#shared.urls)
    const answer = await ask(method, new URL(path, url).href, question)
    this.#note(`  ${method} ${path} at ${new URL(url).port}: ${answer?.status ?? 'cut'}`)
    if (answer === undefined) await delay(20 + random.below(150))
    else if (answer.status >= 500) await delay(random.below(300))
    return answer
  }

  /** As often as it takes for an answer of a registry that can. */
  async #answered(random: Random, method: string, path: string): Promise<Answer> {
    let full = 0
    for (const deadline = Date.now() + PATIENCE_MS; ; ) {
      const answer = await this.#once(random, method, path)
      if (answer && answer.status < 500 && answer.status !== 429) return answer
      if (answer?.status === 507) full += 1
      if (this.#shared.fills && full > FULL_FOR_GOOD) throw new NoRoom()
      if (Date.now() > deadline) throw new Violation(`nobody answers ${method} ${path}: ${answer && said(answer)}`)
    }
  }

  async #until(random: Random, method: string, path: string, status: number): Promise<Answer> {
    const answer = await this.#answered(random, method, path)
    if (answer.status !== status) throw new Violation(`${method} ${path}: ${said(answer)}`)
    return answer
  }

  #note(line: string): void {
    this.history.push(`${new Date().toISOString().slice(14, 23)} ${line}`)
    if (this.history.length > 60) this.history.shift()
  }
}

const said = ({ status, body }: Answer): string => `${status} ${body.toString().slice(0, 300)}`
const locationOf = ({ headers }: Answer): string => String(headers['location'] ?? '')
const offsetOf = (location: string): number => Number(location.split('/').at(-1))
const rangeOf = (offset: number, { length }: Buffer): string => `${offset}-${offset + length - 1}`

async function* piecesOf(
  content: Buffer,
  pieceBytes: number,
  forever = false,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.length; at += pieceBytes) yield content.subarray(at, at + pieceBytes)
  if (forever) await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve()))
}
