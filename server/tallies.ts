/**
 * Counts and durations by labels that cost one look-up in a map to add to. What Prometheus calls them is worked out when it
 * asks. (prom-client's own hash their labels at every step, which was a twentieth of a small request.)
 */
import {
  Counter,
  Histogram,
  type MetricObjectWithValues,
  type MetricValue,
  type MetricValueWithName,
} from 'prom-client'

type Labels = Readonly<Record<string, string>>

export interface Tally {
  readonly labels: Labels
  count: number
  seconds: number
  /** How many took at most as long as each bound, and longer than the bound before; the last: longer than all. */
  readonly within: number[]
  received: number
  sent: number
}

export class Tallies {
  readonly #bounds: readonly number[]
  readonly #byKey = new Map<string, Tally>()

  /** In seconds, ascending. */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds
  }

  /** The tally to add bytes to. `labels` is asked once for each `key`, of which there must be few. */
  add(key: string, seconds: number, labels: () => Labels): Tally {
    let tally = this.#byKey.get(key)
    if (!tally) {
      const within = Array<number>(this.#bounds.length + 1).fill(0)
      tally = { labels: labels(), count: 0, seconds: 0, within, received: 0, sent: 0 }
      this.#byKey.set(key, tally)
    }
    let bucket = 0
    while (seconds > (this.#bounds[bucket] ?? Number.POSITIVE_INFINITY)) bucket++
    tally.within[bucket] = (tally.within[bucket] ?? 0) + 1
    tally.count++
    tally.seconds += seconds
    return tally
  }

  values(): Iterable<Tally> {
    return this.#byKey.values()
  }

  /** As a histogram has them; tallies that differ in other labels only are put together. */
  histogram(name: string, ...labelNames: readonly string[]): MetricValueWithName<string>[] {
    const merged = new Map<string, Tally>()
    for (const { labels, count, seconds, within } of this.#byKey.values()) {
      const kept = Object.fromEntries(labelNames.map((label) => [label, labels[label] ?? '']))
      const key = JSON.stringify(kept)
      const sum = merged.get(key) ?? {
        labels: kept,
        count: 0,
        seconds: 0,
        within: within.map(() => 0),
        received: 0,
        sent: 0,
      }
      sum.count += count
      sum.seconds += seconds
      within.forEach((here, bucket) => {
        sum.within[bucket] = (sum.within[bucket] ?? 0) + here
      })
      merged.set(key, sum)
    }
    return [...merged.values()].flatMap(({ labels, count, seconds, within }) => {
      let cumulative = 0
      const buckets = within.map((here, bucket) => {
        cumulative += here
        return {
          metricName: `${name}_bucket`,
          labels: { le: this.#bounds[bucket] ?? '+Inf', ...labels },
          value: cumulative,
        }
      })
      const total = { metricName: `${name}_sum`, labels, value: seconds }
      return [...buckets, total, { metricName: `${name}_count`, labels, value: count }]
    })
  }
}

/** A counter whose values are asked for when they are wanted. */
export class DerivedCounter extends Counter {
  readonly #values: () => MetricValue<string>[]

  constructor(configuration: ConstructorParameters<typeof Counter>[0], values: () => MetricValue<string>[]) {
    super(configuration)
    this.#values = values
  }

  override async get(): Promise<MetricObjectWithValues<MetricValue<string>>> {
    return { ...(await super.get()), values: this.#values() }
  }
}

export class DerivedHistogram extends Histogram {
  readonly #values: () => MetricValueWithName<string>[]

  constructor(configuration: ConstructorParameters<typeof Histogram>[0], values: () => MetricValueWithName<string>[]) {
    super(configuration)
    this.#values = values
  }

  override async get(): Promise<MetricObjectWithValues<MetricValueWithName<string>>> {
    return { ...(await super.get()), values: this.#values() }
  }
}
