/**
 * What an operator watches, for Prometheus. Labels are bounded: routes, verbs, classes of status, names of our own; never a
 * repository, a digest, a path or an address.
 */
import {
  AggregatorRegistry,
  Counter,
  collectDefaultMetrics,
  Gauge,
  type MetricObject,
  type MetricValue,
  type MetricValueWithName,
  Registry,
} from 'prom-client'
import type { RequestObserver, RequestReport } from './access-log.ts'
import { DerivedCounter, DerivedHistogram, Tallies, type Tally } from './tallies.ts'

/** From a cached manifest to a layer of hours. */
const REQUEST_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10, 60, 600]
const STORAGE_SECONDS = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.25, 1, 5]
const VERBS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'])

export type UploadEvent = 'started' | 'asked' | 'committed' | 'mismatched' | 'cancelled' | 'failed'

export class Metrics implements RequestObserver {
  readonly #registry = new Registry()
  readonly #requests = new Tallies(REQUEST_SECONDS)
  readonly #operations = new Tallies(STORAGE_SECONDS)
  #requestsRunning = 0
  readonly #uploads = this.#counter(
    'upload_sessions_total',
    'Upload sessions by what happened to them; asked: a client asked where to go on, as it does to resume.',
    'event',
  )
  readonly #uploading = this.#gauge('uploads_open', 'Uploads whose bytes are arriving.')
  readonly #storageErrors = this.#counter(
    'storage_errors_total',
    'Operations of the storage driver that failed.',
    'operation',
    'error',
  )

  readonly #damaged = this.#counter(
    'damaged_total',
    'Blobs and manifests whose stored bytes were found to be others than were pushed.',
  )

  constructor() {
    collectDefaultMetrics({ register: this.#registry })
    const requests = (): Tally[] => [...this.#requests.values()]
    const isBlob = ({ labels }: Tally): boolean => labels['route']?.endsWith('/blobs/:digest') ?? false
    const isUpload = ({ labels }: Tally): boolean => labels['route']?.includes('/blobs/uploads/') ?? false

    this.#derived('http_requests_total', 'Requests answered, or broken off.', () =>
      requests().map(({ labels, count }) => ({ labels, value: count })),
    )
    this.#derivedHistogram(
      'http_request_duration_seconds',
      'From the headers to the last byte of the answer.',
      (name) => this.#requests.histogram(name, 'route', 'method'),
    )
    this.#derived('http_received_bytes_total', 'Bytes of bodies of requests.', () =>
      requests().map(({ labels, received }) => ({ labels, value: received })),
    )
    this.#derived('http_sent_bytes_total', 'Bytes of answers, with their headers.', () =>
      requests().map(({ labels, sent }) => ({ labels, value: sent })),
    )
    const running = this.#gauge('http_requests_running', 'Requests that are being answered.', () =>
      running.set(this.#requestsRunning),
    )
    this.#derived('blob_requests_total', 'Requests for blobs, by what was asked and how it went.', () =>
      requests()
        .filter(isBlob)
        .map(({ labels, count }) => ({ labels: blobLabels(labels), value: count })),
    )
    this.#derived('blob_sent_bytes_total', 'Bytes of blobs sent.', () => [
      { labels: {}, value: sum(requests().filter(isBlob), ({ sent }) => sent) },
    ])
    this.#derived('upload_bytes_total', 'Bytes of blobs that arrived, whether or not they became a blob.', () => [
      { labels: {}, value: sum(requests().filter(isUpload), ({ received }) => received) },
    ])
    this.#derivedHistogram('storage_operation_duration_seconds', 'Operations of the storage driver.', (name) =>
      this.#operations.histogram(name, 'operation'),
    )
  }

  began(): void {
    this.#requestsRunning++
  }

  ended({ route = 'none', method, status, finished, bytesIn, bytesOut, durationMs }: RequestReport): void {
    this.#requestsRunning--
    const verb = VERBS.has(method) ? method : 'other'
    const outcome = finished ? `${Math.floor(status / 100)}xx` : 'broken'
    const labels = (): Record<string, string> => ({ route, method: verb, status: outcome })
    const tally = this.#requests.add(`${verb} ${outcome} ${route}`, durationMs / 1_000, labels)
    tally.received += bytesIn
    tally.sent += bytesOut
  }

  upload(event: UploadEvent): void {
    this.#uploads.inc({ event })
  }

  /** Counts an upload as open until its bytes are in, or not. */
  async uploading<T>(work: Promise<T>): Promise<T> {
    this.#uploading.inc()
    try {
      return await work
    } finally {
      this.#uploading.dec()
    }
  }

  damaged(): void {
    this.#damaged.inc()
  }

  storage(operation: string, seconds: number): void {
    this.#operations.add(operation, seconds, () => ({ operation }))
  }

  storageFailed(operation: string, error: string): void {
    this.#storageErrors.inc({ operation, error })
  }

  certificateExpires(at: () => Date): void {
    const expiry: Gauge = new Gauge({
      name: 'gantry_tls_certificate_expiry_timestamp_seconds',
      help: 'When the TLS certificate expires that new connections get.',
      aggregator: 'min', // of several workers
      registers: [this.#registry],
      collect: () => expiry.set(Math.floor(at().getTime() / 1_000)),
    })
  }

  /** To be put together with those of other processes. */
  async snapshot(): Promise<MetricsSnapshot> {
    return await this.#registry.getMetricsAsJSON()
  }

  #counter<Label extends string>(name: string, help: string, ...labelNames: Label[]): Counter<Label> {
    return new Counter({ name: `gantry_${name}`, help, labelNames, registers: [this.#registry] })
  }

  #gauge(name: string, help: string, collect = (): void => {}): Gauge {
    return new Gauge({ name: `gantry_${name}`, help, registers: [this.#registry], collect })
  }

  #derived(name: string, help: string, values: () => MetricValue<string>[]): void {
    new DerivedCounter({ name: `gantry_${name}`, help, registers: [this.#registry] }, values)
  }

  #derivedHistogram(name: string, help: string, values: (name: string) => MetricValueWithName<string>[]): void {
    const full = `gantry_${name}`
    new DerivedHistogram({ name: full, help, registers: [this.#registry] }, () => values(full))
  }
}

const sum = <T>(all: readonly T[], of: (each: T) => number): number => all.reduce((total, each) => total + of(each), 0)

function blobLabels({ method, status }: Tally['labels']): Record<string, string> {
  const operation = method === 'HEAD' ? 'stat' : method === 'DELETE' ? 'delete' : 'read'
  return { operation, status: status ?? '' }
}

/** JSON. */
export type MetricsSnapshot = readonly MetricObject[]

/** The text that Prometheus reads. Counters and gauges of several processes are added up. */
export async function printMetrics(snapshots: readonly MetricsSnapshot[]): Promise<string> {
  return await AggregatorRegistry.aggregate(snapshots.map((snapshot) => [...snapshot])).metrics()
}

export const METRICS_TYPE = Registry.PROMETHEUS_CONTENT_TYPE

/** What the process that keeps workers alive knows itself. */
export class WorkersMetrics {
  readonly #registry = new Registry()
  readonly #listening = new Gauge({
    name: 'gantry_workers_listening',
    help: 'Worker processes that serve.',
    registers: [this.#registry],
  })
  readonly #deaths = new Counter({
    name: 'gantry_worker_deaths_total',
    help: 'Worker processes that died and were replaced.',
    registers: [this.#registry],
  })

  listening(count: number): void {
    this.#listening.set(count)
  }

  died(): void {
    this.#deaths.inc()
  }

  async snapshot(): Promise<MetricsSnapshot> {
    return await this.#registry.getMetricsAsJSON()
  }
}
