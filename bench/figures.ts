/** Samples become the few figures that are printed, and a table of them. */

export interface Figures {
  readonly n: number
  readonly p50: number
  readonly p99: number
  readonly min: number
}

/** By nearest rank. Throws when there are no samples. */
export function summarize(samples: readonly number[]): Figures {
  const sorted = samples.toSorted((a, b) => a - b)
  const rank = (share: number): number => {
    const value = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]
    if (value === undefined) throw new RangeError('no samples to summarize')
    return value
  }
  return { n: sorted.length, p50: rank(0.5), p99: rank(0.99), min: rank(0) }
}

/** Columns as wide as their widest cell; the first to the left, figures to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

export const ratio = (ours: number, theirs: number): string => `${(ours / theirs).toFixed(2)}x`

/** The middle sample, by nearest rank. Throws when there are none. */
export const median = (samples: readonly number[]): number => summarize(samples).p50
