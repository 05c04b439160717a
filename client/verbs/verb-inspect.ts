/** What `gantry inspect` tells of an image, `gantry history` and `gantry manifest inspect`: of the local store, else of wherever the name says. */
import { history, inspect, manifest } from '../images/look.ts'
import { printBytes } from '../images/progress.ts'
import type { PullFlags } from './flags.ts'
import { type Output, printAge, table } from './output.ts'

export type InspectFlags = Omit<PullFlags, 'progress'> & {
  readonly root: string
  readonly noTrunc?: boolean
  readonly raw?: boolean
}

/** What is known of one image. */
export async function imageDocument(name: string, flags: InspectFlags): Promise<object> {
  const { manifest, config, ...found } = await inspect(name, flags)
  const { config: process, os, architecture, variant, created, author } = config
  return {
    name,
    id: manifest.config.digest,
    ...found,
    os,
    architecture,
    variant,
    created,
    author,
    config: process,
    sizeBytes: manifest.layers.reduce((sum, layer) => sum + layer.sizeBytes, manifest.config.sizeBytes),
    layers: manifest.layers,
    rootfs: config['rootfs'],
  }
}

export async function historyVerb(name: string, flags: InspectFlags, output: Output): Promise<void> {
  const steps = await history(name, flags)
  if (flags.json) return output.line(JSON.stringify(steps, null, 2))
  const now = new Date()
  const rows = steps.map(({ created, createdBy, comment, sizeBytes }) => [
    Number.isNaN(Date.parse(created)) ? 'unknown' : printAge(new Date(created), now),
    flags.noTrunc ? createdBy : shortened(createdBy),
    printBytes(sizeBytes),
    comment,
  ])
  output.line(table([['CREATED', 'CREATED BY', 'SIZE', 'COMMENT'], ...rows]))
}

/** The manifest as it is: byte for byte with `--raw`. */
export async function manifestInspectVerb(name: string, flags: InspectFlags, output: Output): Promise<void> {
  const { bytes } = await manifest(name, flags)
  output.line(flags.raw ? bytes.toString('utf8') : JSON.stringify(JSON.parse(bytes.toString('utf8')), null, 2))
}

const LONGEST_COMMAND = 60
const shortened = (text: string): string =>
  text.length > LONGEST_COMMAND ? `${text.slice(0, LONGEST_COMMAND - 1)}…` : text
