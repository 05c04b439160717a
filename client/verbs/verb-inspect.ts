/** What `gantry inspect` tells of an image, `gantry history` and `gantry manifest inspect`: of the local store, else of wherever the name says. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Images } from '../images/images.ts'
import { historyOf, type Inspected, inspect } from '../images/inspection.ts'
import { type OpenedSource, openSource, parsePlace } from '../images/places.ts'
import { printBytes } from '../images/progress.ts'
import { StoreFolders } from '../store/store.ts'
import type { PullFlags } from './flags.ts'
import { type Output, printAge, table } from './output.ts'

export type InspectFlags = Omit<PullFlags, 'progress'> & {
  readonly root: string
  readonly noTrunc?: boolean
  readonly raw?: boolean
}

/** What is known of one image. */
export async function imageDocument(name: string, flags: InspectFlags): Promise<object> {
  const { manifest, config, ...found } = await inspected(name, flags)
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
  const steps = historyOf(await inspected(name, flags))
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
  await using opened = await openNearest(name, flags)
  const { bytes } = await opened.source.manifest(opened.reference)
  output.line(flags.raw ? bytes.toString('utf8') : JSON.stringify(JSON.parse(bytes.toString('utf8')), null, 2))
}

async function inspected(name: string, flags: InspectFlags): Promise<Inspected> {
  await using opened = await openNearest(name, flags)
  return await inspect(opened.source, opened.reference, flags.platform)
}

/** An image of the local store, if it is there and may be looked at. */
async function openNearest(text: string, flags: InspectFlags): Promise<OpenedSource> {
  const place = parsePlace(text)
  if (place.kind !== 'registry') return await openSource(place, flags, flags.root)
  const isStore = await stat(join(flags.root, 'lock')).then(
    () => true,
    () => false,
  )
  const isHere = isStore && (await new Images(await StoreFolders.open(flags.root)).find(place.name)) !== undefined
  return await openSource(isHere ? { kind: 'local', name: place.name } : place, flags, flags.root)
}

const LONGEST_COMMAND = 60
const shortened = (text: string): string =>
  text.length > LONGEST_COMMAND ? `${text.slice(0, LONGEST_COMMAND - 1)}…` : text
