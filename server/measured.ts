/** Storage with an eye on it: the same promises, and the metrics know what it did. */
import type { Sealed, Soon, Staging, StorageDriver } from '../storage/driver.ts'
import { DigestMismatch, StorageUnavailable } from '../storage/errors.ts'
import type { Uploads } from '../storage/store.ts'
import type { Metrics } from './metrics.ts'

export function measuredDriver(driver: StorageDriver, metrics: Metrics): StorageDriver {
  const timed = async <T>(operation: string, work: Promise<T>, started = performance.now()): Promise<T> => {
    try {
      return await work
    } catch (error) {
      countFailure(operation, error)
      throw error
    } finally {
      metrics.storage(operation, (performance.now() - started) / 1_000)
    }
  }
  /** What is told at once is passed on at once. */
  const timedSoon = <T>(operation: string, ask: () => Soon<T>): Soon<T> => {
    const started = performance.now()
    const answer = ask()
    if (answer instanceof Promise) return timed(operation, answer, started)
    metrics.storage(operation, (performance.now() - started) / 1_000)
    return answer
  }
  const countFailure = (operation: string, error: unknown): void => {
    if (!(error instanceof StorageUnavailable)) return // other facts are answers
    metrics.storageFailed(operation, (error.cause as NodeJS.ErrnoException | undefined)?.code ?? 'unknown')
  }
  const counted = async function* <T>(operation: string, entries: AsyncIterable<T>): AsyncGenerator<T> {
    try {
      yield* entries
    } catch (error) {
      countFailure(operation, error)
      throw error
    }
  }
  const sealed = (inner: Sealed): Sealed => ({
    sizeBytes: inner.sizeBytes,
    read: (range) => inner.read(range),
    publish: (key) => timed('publish', inner.publish(key)),
  })
  const staging = (inner: Staging): Staging => ({
    ...(inner.receive && { receive: (...from) => counted('append', (inner as Required<Staging>).receive(...from)) }),
    append: (source, offset, signal) => counted('append', inner.append(source, offset, signal)),
    seal: async (sizeBytes) => sealed(await timed('seal', inner.seal(sizeBytes))),
    discard: () => timed('discard', inner.discard()),
  })
  return {
    name: driver.name,
    stat: (key) => timedSoon('stat', () => driver.stat(key)),
    read: (key, range) => timed('read', driver.read(key, range)),
    readSmall: (key) => timedSoon('readSmall', () => driver.readSmall(key)),
    write: (key, bytes, condition) => timed('write', driver.write(key, bytes, condition)),
    remember: (key, identity) => timed('remember', driver.remember(key, identity)),
    setAside: (key, identity) => timed('setAside', driver.setAside(key, identity)),
    locate: async (key) => await timed('locate', Promise.resolve(driver.locate?.(key))),
    remove: (key) => timed('remove', driver.remove(key)),
    list: (prefix, options) => counted('list', driver.list(prefix, options)),
    listParts: (prefix, options) => counted('list', driver.listParts(prefix, options)),
    ...(driver.listWhole && { listWhole: (prefix: string) => driver.listWhole?.(prefix) }),
    stage: (id, state) => staging(driver.stage(id, state)),
    stageWhole: async (content) => {
      const { publish, discard } = await timed('stageWhole', driver.stageWhole(content))
      return { publish: (key) => timed('publish', publish(key)), discard: () => timed('discard', discard()) }
    },
    close: () => driver.close(),
  }
}

export const measuredUploads = (uploads: Uploads, metrics: Metrics): Uploads => ({
  async start(repository, algorithm) {
    const session = await uploads.start(repository, algorithm)
    metrics.upload('started')
    return session
  },
  async push(repository, digest, source, options) {
    try {
      const blob = await metrics.uploading(uploads.push(repository, digest, source, options))
      metrics.upload('committed')
      return blob
    } catch (error) {
      metrics.upload(error instanceof DigestMismatch ? 'mismatched' : 'failed')
      throw error
    }
  },
  async status(repository, id) {
    const session = await uploads.status(repository, id)
    metrics.upload('asked')
    return session
  },
  async append(repository, id, source, options) {
    try {
      return await metrics.uploading(uploads.append(repository, id, source, options))
    } catch (error) {
      metrics.upload('failed')
      throw error
    }
  },
  async commit(repository, id, digest, source, options) {
    try {
      const work = uploads.commit(repository, id, digest, source, options)
      const blob = await (source ? metrics.uploading(work) : work)
      metrics.upload('committed')
      return blob
    } catch (error) {
      metrics.upload(error instanceof DigestMismatch ? 'mismatched' : 'failed')
      throw error
    }
  },
  async cancel(repository, id) {
    await uploads.cancel(repository, id)
    metrics.upload('cancelled')
  },
  checkpointAll: () => uploads.checkpointAll(),
})
