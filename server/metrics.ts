/**
 * What an operator watches, for Prometheus. Labels are bounded: routes, verbs, classes of status, names of our own; never a
 * repository, a digest, a path or an address.
 */
import {
  AggregatorRegistry,
  Counter,
  collectDefaultMetrics,
  Gauge,
  Histogram,
  type MetricObject,
  Registry,
} from 'prom-client'
import type { RequestObserver, RequestReport } from './access-log.ts'

/** From a cached manifest to a layer of hours. */
const REQUEST_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10, 60, 600]
const STORAGE_SECONDS = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.25, 1, 5]
const VERBS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'])

export type UploadEvent = 'started' | 'asked' | 'committed' | 'mismatched' | 'cancelled' | 'failed'

export class Metrics implements RequestObserver {
  readonly #registry = new Registry()
  readonly #requests = this.#counter(
    'http_requests_total',
    'Requests answered, or broken off.',
    'route',
    'method',
    'status',
  )
  readonly #seconds = this.#histogram(
    'http_request_duration_seconds',
    'From the headers to the last byte of the answer.',
    REQUEST_SECONDS,
    'route',
    'method',
  )
  readonly #running = this.#gauge('http_requests_running', 'Requests that are being answered.')
  readonly #bytes = this.#counter(
    'http_body_bytes_total',
    'Bytes of requests received, and of answers sent with their headers.',
    'route',
    'direction',
  )
  readonly #uploads = this.#counter(
    'upload_sessions_total',
    'Upload sessions by what happened to them; asked: a client asked where to go on, as it does to resume.',
    'event',
  )
  readonly #uploading = this.#gauge('uploads_open', 'Uploads whose bytes are arriving.')
  readonly #uploadedBytes = this.#counter(
    'upload_bytes_total',
    'Bytes of blobs that arrived, whether or not they became a blob.',
  )
  readonly #blobs = this.#counter(
    'blob_requests_total',
    'Requests for blobs, by what was asked and how it went.',
    'operation',
    'result',
  )
  readonly #blobBytes = this.#counter('blob_sent_bytes_total', 'Bytes of blobs sent.')
  readonly #storageSeconds = this.#histogram(
    'storage_operation_duration_seconds',
    'Operations of the storage driver.',
    STORAGE_SECONDS,
    'operation',
  )
  readonly #storageErrors = this.#counter(
    'storage_errors_total',
    'Operations of the storage driver that failed.',
    'operation',
    'error',
  )

  constructor() {
    collectDefaultMetrics({ register: this.#registry })
  }

  began(): void {
    this.#running.inc()
  }

  ended(report: RequestReport): void {
    const { status, bytesIn, bytesOut, durationMs } = report
    const route = report.route ?? 'none'
    const method = VERBS.has(report.method) ? report.method : 'other'
    this.#running.dec()
    this.#requests.inc({ route, method, status: report.finished ? `${Math.floor(status / 100)}xx` : 'broken' })
    this.#seconds.observe({ route, method }, durationMs / 1_000)
    if (bytesIn > 0) this.#bytes.inc({ route, direction: 'received' }, bytesIn)
    this.#bytes.inc({ route, direction: 'sent' }, bytesOut)
    if (route.endsWith('/blobs/:digest')) this.#blobEnded(report)
    else if (route.includes('/blobs/uploads/')) this.#uploadedBytes.inc(bytesIn)
  }

  #blobEnded({ method, status, finished, bytesOut }: RequestReport): void {
    const operation = method === 'HEAD' ? 'stat' : method === 'DELETE' ? 'delete' : 'read'
    const result = !finished ? 'broken' : status < 400 ? 'ok' : status === 404 ? 'unknown' : 'failed'
    this.#blobs.inc({ operation, result })
    if (operation === 'read' && status < 300) this.#blobBytes.inc(bytesOut)
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

  storage(operation: string, seconds: number): void {
    this.#storageSeconds.observe({ operation }, seconds)
  }

  storageFailed(operation: string, error: string): void {
    this.#storageErrors.inc({ operation, error })
  }

  /** To be put together with those of other processes. */
  async snapshot(): Promise<MetricsSnapshot> {
    return await this.#registry.getMetricsAsJSON()
  }

  #counter<Label extends string>(name: string, help: string, ...labelNames: Label[]): Counter<Label> {
    return new Counter({ name: `gantry_${name}`, help, labelNames, registers: [this.#registry] })
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name: `gantry_${name}`, help, registers: [this.#registry] })
  }

  #histogram<Label extends string>(
    name: string,
    help: string,
    buckets: number[],
    ...labelNames: Label[]
  ): Histogram<Label> {
    return new Histogram({ name: `gantry_${name}`, help, buckets, labelNames, registers: [this.#registry] })
  }
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
