/** How lists are shown: a table, `table` with columns of one's own, JSON, or a template for each row. Docker's words. */
import type { Output } from '../output.ts'
import { compileTemplate } from './template.ts'

export interface Listing<Row> {
  /** The columns of the usual table, by the names of fields. */
  readonly columns: readonly string[]
  /** What stands above a field where that is not the field's name with spaces. */
  readonly headings: Readonly<Record<string, string>>
  /** What a template can name. */
  readonly fields: (row: Row) => Readonly<Record<string, unknown>>
  /** With -q. */
  readonly quiet: (row: Row) => string
}

export interface ListingFlags {
  readonly quiet?: boolean
  readonly json?: boolean
  readonly format?: string
}

const COLUMN_GAP = 3
const LEAST_COLUMN = 10

/** Throws `TemplateError`. */
export function printListing<Row>(
  rows: readonly Row[],
  listing: Listing<Row>,
  flags: ListingFlags,
  output: Output,
): void {
  const { format = 'table', quiet } = flags
  if (quiet && (flags.format === undefined || format.startsWith('table'))) {
    for (const row of rows) output.line(listing.quiet(row))
    return
  }
  const all = rows.map(listing.fields)
  if (flags.json) {
    output.line(JSON.stringify(all, null, 2))
    return
  }
  if (format === 'json') {
    for (const fields of all) output.line(JSON.stringify(fields))
    return
  }
  const [, rest] = /^table(.*)$/s.exec(format) ?? []
  if (rest === undefined) {
    const print = compileTemplate(unescaped(format))
    for (const fields of all) output.line(print(fields))
    return
  }
  const template =
    rest.trim() === '' ? listing.columns.map((field) => `{{.${field}}}`).join('\t') : unescaped(rest.trim())
  const print = compileTemplate(template)
  const lines = [headingOf(template, listing), ...all.map(print)].map((line) => line.split('\t'))
  output.line(aligned(lines))
}

/** The template, with headings where fields would be. */
function headingOf<Row>(template: string, { headings }: Listing<Row>): string {
  return template.replace(/\{\{[^}]*\}\}/g, (action) => {
    const [, field = ''] = /\.(\w+)/.exec(action) ?? []
    return headings[field] ?? field.replace(/(?<=[a-z])(?=[A-Z])/g, ' ').toUpperCase()
  })
}

/** Columns as wide as their widest cell and a gap, as Go's tabwriter makes them. */
function aligned(lines: readonly (readonly string[])[]): string {
  const count = Math.max(...lines.map((line) => line.length))
  const widths = Array.from({ length: count }, (_, column) => {
    const cells = lines.filter((line) => column < line.length - 1).map((line) => line[column] ?? '')
    return Math.max(LEAST_COLUMN, ...cells.map((cell) => cell.length + COLUMN_GAP))
  })
  return lines
    .map((line) => line.map((cell, i) => (i < line.length - 1 ? cell.padEnd(widths[i] ?? 0) : cell)).join(''))
    .join('\n')
}

const unescaped = (text: string): string => text.replaceAll('\\t', '\t').replaceAll('\\n', '\n')

/** One document, by `inspect`: JSON, or a template for each. Throws `TemplateError`. */
export function printDocuments(documents: readonly object[], format: string | undefined, output: Output): void {
  if (!format) {
    output.line(JSON.stringify(documents, null, 4))
    return
  }
  if (format === 'json') {
    for (const document of documents) output.line(JSON.stringify(document))
    return
  }
  const print = compileTemplate(format)
  for (const document of documents) output.line(print(document))
}
