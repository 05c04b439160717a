/** What the first process and its workers say to each other: all of it, on one screen. */
import type { Address } from './address.ts'
import type { Config } from './config/schema.ts'
import type { MetricsSnapshot } from './metrics.ts'
import type { Spent } from './rate-limit.ts'

export type ToWorker =
  /** Once, first. */
  | { readonly say: 'begin'; readonly config: Config; readonly workers: number }
  | { readonly say: 'stop' }
  | { readonly say: 'reopen logs' }
  /** By clients, at the other workers. */
  | { readonly say: 'spent'; readonly spent: Spent }
  | { readonly say: 'tell'; readonly question: number }

export type FromWorker =
  | { readonly say: 'listening'; readonly addresses: readonly Address[] }
  /** And why; the worker ends. */
  | { readonly say: 'cannot'; readonly reason: string }
  | { readonly say: 'spent'; readonly spent: Spent }
  | { readonly say: 'told'; readonly question: number; readonly report: WorkerReport }

export interface WorkerReport {
  /** Why no work should be sent there. */
  readonly problem?: string
  readonly metrics: MetricsSnapshot
}
