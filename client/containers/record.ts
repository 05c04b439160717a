/**
 * What is kept of a container: what it was made of and what was asked for. It is written once, when all that belongs to the container is there,
 * and changes only by `rename` and `update`; how the container is doing is its monitor's to say (state.ts).
 */
import type { Digest } from '../../storage/model/digest.ts'
import { parseDigest } from '../../storage/model/digest.ts'
import type { ImageProcess } from '../model/image-process.ts'
import type { ResolvedMount } from './mount-spec.ts'
import type { ContainerRequest } from './request.ts'

export interface ContainerRecord {
  readonly version: 1
  /** 64 hexadecimal digits. */
  readonly id: string
  readonly name: string
  /** ISO 8601. */
  readonly created: string
  /** The image as it was named, its configuration's digest, and what it is for. */
  readonly image: string
  readonly imageId: Digest
  readonly architecture: string
  /** The image may go by another name later, or change: this is what the container was made from. */
  readonly process: ImageProcess
  readonly request: ContainerRequest
  /** The layers it stands on, the lowest first. */
  readonly layers: readonly string[]
  readonly mounts: readonly RecordedMount[]
  /** Where it is reachable; none yet, there is no network but a container's own loopback and the host's. */
  readonly endpoints: readonly NetworkEndpoint[]
}

/** A place in a network: an interface in the network namespace that the container's monitor makes and holds. */
interface NetworkEndpoint {
  /** By its name. */
  readonly network: string
  /** Its name in the container. */
  readonly interface: string
  /** Of version 4 and 6, with the length of the prefix: `10.1.0.2/16`. */
  readonly addresses: readonly string[]
}

/** A mount as it was made, and the volume that is behind it. */
export type RecordedMount = ResolvedMount & {
  readonly volume?: { readonly name: string; readonly anonymous: boolean }
}

/** It is not a record, or not one that this version of Gantry can read. */
class RecordInvalid extends Error {
  override readonly name = 'RecordInvalid'
}

const NEWEST_VERSION = 1

/** As it is in its file. */
export const printRecord = (record: ContainerRecord): string => `${JSON.stringify(record, null, 2)}\n`

/** Throws `RecordInvalid` with what is wrong. */
export function parseRecord(text: string): ContainerRecord {
  let fields: Record<string, unknown>
  try {
    fields = JSON.parse(text) as Record<string, unknown>
  } catch (cause) {
    throw new RecordInvalid('it is not JSON', { cause })
  }
  const { version, id, imageId } = fields
  if (typeof version === 'number' && version > NEWEST_VERSION)
    throw new RecordInvalid(`it was written by a newer Gantry (version ${version}, this one knows ${NEWEST_VERSION})`)
  if (version !== NEWEST_VERSION)
    throw new RecordInvalid(`its version is ${JSON.stringify(version)}, not ${NEWEST_VERSION}`)
  for (const key of ['id', 'name', 'created', 'image', 'imageId', 'architecture'])
    if (typeof fields[key] !== 'string') throw new RecordInvalid(`its ${key} is no text`)
  for (const key of ['layers', 'mounts', 'endpoints'])
    if (!Array.isArray(fields[key])) throw new RecordInvalid(`its ${key} is no list`)
  for (const key of ['process', 'request'])
    if (typeof fields[key] !== 'object' || fields[key] === null) throw new RecordInvalid(`its ${key} is no object`)
  if (!/^[0-9a-f]{64}$/.test(id as string)) throw new RecordInvalid(`its id ${JSON.stringify(id)} is none`)
  if ((fields['layers'] as unknown[]).some((layer) => typeof layer !== 'string'))
    throw new RecordInvalid('its layers are no texts')
  parseDigest(imageId as string)
  return fields as unknown as ContainerRecord
}
