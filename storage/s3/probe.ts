/**
 * What a bucket can do, tried out on names that are used once: servers that speak S3 differ where a registry relies on
 * them. At start-up, and for an operator who chooses one.
 */
import { newNonce } from '../layout.ts'
import { Bucket } from './bucket.ts'
import { classOf } from './failures.ts'
import { tried } from './retries.ts'
import type { S3Settings } from './settings.ts'

interface Finding {
  readonly what: string
  readonly works: boolean
  /** Nothing goes without it. */
  readonly needed: boolean
  /** What was found, and what that means. */
  readonly says: string
}

export interface Verdict {
  readonly findings: readonly Finding[]
  /** Whether any number of replicas may share the bucket. */
  readonly conditionalWrites: boolean
}

/** In byte order, also where a server walks folders. */
const NAMES = ['A', '_x', 'a!1', 'a-b', 'a.c', 'b']
const WRITERS = 8
const RACES = 3
/** Somebody waits for the answer. */
const PATIENCE_MS = 10_000

/** For an operator, without a store. Throws `StorageUnavailable` if the bucket cannot be reached at all. */
export async function probeS3(settings: S3Settings): Promise<Verdict> {
  const bucket = new Bucket({
    ...settings,
    attempts: 2,
    timeoutMs: Math.min(settings.timeoutMs ?? PATIENCE_MS, PATIENCE_MS),
  })
  try {
    return await probeBucket(bucket)
  } finally {
    bucket.close()
  }
}

/** Leaves nothing behind. */
export async function probeBucket(bucket: Bucket): Promise<Verdict> {
  const folder = `probe/${newNonce()}/`
  const made = new Set<string>()
  const at = (name: string): string => {
    made.add(folder + name)
    return folder + name
  }
  try {
    const findings = [await writing(bucket, at)]
    if (findings[0]?.works) {
      findings.push(
        ...(await Promise.all([
          creating(bucket, at),
          replacing(bucket, at),
          ranges(bucket, at),
          listing(bucket, at, folder),
          multipart(bucket, at),
        ])),
      )
    }
    const honoured = [CREATE, REPLACE].every((what) => findings.find((one) => one.what === what)?.works === true)
    return { findings, conditionalWrites: honoured }
  } finally {
    for (const key of made) await bucket.remove(key).catch(() => {}) // its failure was found, or is nobody's concern
  }
}

type At = (name: string) => string

const CREATE = 'conditional create'
const REPLACE = 'conditional replace'
const bytesOf = (text: string): Uint8Array => Buffer.from(text)

async function writing(bucket: Bucket, at: At): Promise<Finding> {
  const key = at('written')
  const etag = await bucket.put(key, bytesOf('written'))
  const found = await bucket.get(key)
  const works = found?.etag === etag && Buffer.from(found.bytes).toString() === 'written'
  const says = works
    ? 'what was written is read at once'
    : 'what was written is not what is read at once: replicas would not see each other’s pushes'
  return { what: 'read after write', works, needed: true, says }
}

/** How many of several who write at the same time are told that they were the one. */
async function winners(write: () => Promise<string>): Promise<number> {
  const results = await Promise.allSettled(Array.from({ length: WRITERS }, write))
  for (const result of results) {
    if (result.status === 'rejected' && !REFUSALS.has(classOf(result.reason))) throw result.reason
  }
  return results.filter(({ status }) => status === 'fulfilled').length
}

const REFUSALS: ReadonlySet<string> = new Set(['conditionFailed', 'conflict', 'absent', 'unsupported'])

async function creating(bucket: Bucket, at: At): Promise<Finding> {
  return await judge(CREATE, 'If-None-Match: *', async () => {
    const key = at(`created-${newNonce()}`)
    return await winners(() => bucket.putOnce(key, bytesOf(newNonce()), { ifAbsent: true }))
  })
}

async function replacing(bucket: Bucket, at: At): Promise<Finding> {
  return await judge(REPLACE, 'If-Match', async () => {
    const key = at(`replaced-${newNonce()}`)
    const etag = await bucket.put(key, bytesOf(newNonce()))
    return await winners(() => bucket.putOnce(key, bytesOf(newNonce()), { ifEtag: etag }))
  })
}

async function judge(what: string, header: string, race: () => Promise<number>): Promise<Finding> {
  const won = await tried(RACES, race) // what a lost answer meant is unknown: the next race is on another name
  const works = won === 1
  const says = works
    ? `${header} is honoured: one of ${WRITERS} writers won`
    : `${header} is not honoured: ${won} of ${WRITERS} writers won, so only a single replica can use this bucket`
  return { what, works, needed: false, says }
}

async function ranges(bucket: Bucket, at: At): Promise<Finding> {
  const key = at('ranged')
  await bucket.put(key, bytesOf('0123456789'))
  const opened = await bucket.open(key, { start: 3, end: 5 })
  const text = Buffer.concat(await Array.fromAsync((opened?.body ?? []) as AsyncIterable<Buffer>)).toString()
  const works = text === '345' && opened?.sizeBytes === 10
  const says = works
    ? 'parts of objects can be read'
    : `asked for bytes 3-5 of 10, got ${JSON.stringify(text.slice(0, 20))} of ${opened?.sizeBytes}`
  return { what: 'ranges', works, needed: true, says }
}

async function listing(bucket: Bucket, at: At, folder: string): Promise<Finding> {
  await Promise.all([...NAMES, 'deep/1'].map((name) => bucket.put(at(`listed/${name}`), bytesOf(''))))
  const list = (options: Parameters<Bucket['list']>[1]): Promise<string[]> =>
    Array.fromAsync(bucket.list(`${folder}listed/`, options))
  const [all, some] = [await list({}), await list({ after: 'a!1', limit: 2 })]
  const works = all.join() === [...NAMES, 'deep/'].join() && some.join() === 'a-b,a.c'
  const says = works
    ? 'names are listed in byte order, from any name on'
    : `names are listed as ${all.join(' ')}, and after a!1 as ${some.join(' ')}: tags would be listed out of order, or not at all`
  return { what: 'ordered listing', works, needed: true, says }
}

/** With a gap in the numbers, as uploads that were continued have. */
async function multipart(bucket: Bucket, at: At): Promise<Finding> {
  const key = at('parts')
  const first = Buffer.alloc(SMALLEST_PART, 'p')
  const uploadId = await bucket.createUpload(key)
  const etags = [
    await bucket.uploadPart(key, uploadId, 2, first),
    await bucket.uploadPart(key, uploadId, 900, bytesOf('end')),
  ]
  const outcome = await bucket.completeUpload(key, uploadId, [
    [2, etags[0] ?? ''],
    [900, etags[1] ?? ''],
  ])
  const found = await bucket.head(key)
  const works = outcome === 'done' && found?.sizeBytes === first.length + 3
  const says = works
    ? 'large objects can be sent in parts'
    : `an object of two parts could not be completed (${outcome}, ${found?.sizeBytes ?? 'no'} bytes)`
  return { what: 'multipart upload', works, needed: true, says }
}

const SMALLEST_PART = 5 * 1024 * 1024
