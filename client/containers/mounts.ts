/** What is mounted into a container: `-v`, `--mount` and `--tmpfs` in docker's notations become one form. Throws `RequestError`. */
import { isAbsolute, normalize, resolve } from 'node:path'
import { parseBytes } from './quantities.ts'
import { RequestError } from './request-error.ts'

export type MountRequest = BindRequest | VolumeRequest | TmpfsRequest

interface Target {
  /** Absolute, in the container. */
  readonly target: string
  readonly readOnly: boolean
}

export interface BindRequest extends Target {
  readonly type: 'bind'
  readonly source: string
  readonly propagation: Propagation
  /** What is mounted below the source comes along. */
  readonly recursive: boolean
  /** A source that is missing is made a folder, as `-v` does and `--mount` does not. */
  readonly makeSource: boolean
}

export interface VolumeRequest extends Target {
  readonly type: 'volume'
  /** None: a volume of its own, without a name. */
  readonly name?: string
  /** Not filled from the image. */
  readonly noCopy: boolean
  /** Which is made if there is none. */
  readonly labels?: Readonly<Record<string, string>>
}

export interface TmpfsRequest extends Target {
  readonly type: 'tmpfs'
  /** Of the filesystem: `size=64m`, `mode=1777`. */
  readonly options: readonly string[]
}

const PROPAGATIONS = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'] as const
export type Propagation = (typeof PROPAGATIONS)[number]

const VOLUME_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}$/

/** Docker's alphabet of names. Throws `RequestError`. */
export function checkVolumeName(name: string): string {
  if (!VOLUME_NAME.test(name))
    throw new RequestError(
      `${JSON.stringify(name)} is no name for a volume: it has letters, digits, "_", "." and "-", two characters or more, and begins with a letter or digit. A folder of this machine is written as an absolute path`,
    )
  return name
}

/** `-v [SOURCE:]TARGET[:OPTIONS]`; a relative source beginning with `.` is one of `directory`. */
export function parseVolumeFlag(text: string, directory: string): MountRequest {
  const parts = text.split(':')
  if (parts.length > 3 || parts.some((part) => part === ''))
    throw new RequestError(
      `invalid volume ${JSON.stringify(text)}: write [SOURCE:]TARGET[:OPTIONS], for example data:/var/lib/data:ro`,
    )
  if (parts.length === 1) return { type: 'volume', target: checkTarget(text, text), readOnly: false, noCopy: false }
  const [source = '', rawTarget = '', options = ''] = parts
  const words = options === '' ? [] : options.split(',')
  const target = checkTarget(rawTarget, text)
  const readOnly = words.includes('ro')
  const propagation = PROPAGATIONS.find((each) => words.includes(each))
  const isPath = isAbsolute(source) || source.startsWith('.')
  const known = ['ro', 'rw', 'z', 'Z', 'nocopy', 'consistent', 'cached', 'delegated', ...PROPAGATIONS]
  const unknown = words.find((word) => !known.includes(word))
  if (unknown !== undefined || (readOnly && words.includes('rw')))
    throw new RequestError(
      `invalid mode ${JSON.stringify(options)} of the volume ${JSON.stringify(text)}: it is ro or rw, nocopy, z, or how mounts propagate`,
    )
  if (isPath) {
    if (words.includes('nocopy'))
      throw new RequestError(`nocopy is for volumes, and ${source} is a folder of this machine`)
    return {
      type: 'bind',
      source: resolve(directory, source),
      target,
      readOnly,
      propagation: propagation ?? 'rprivate',
      recursive: true,
      makeSource: true,
    }
  }
  if (propagation) throw new RequestError(`${propagation} is for folders of this machine, and ${source} is a volume`)
  return { type: 'volume', name: checkVolumeName(source), target, readOnly, noCopy: words.includes('nocopy') }
}

/** `--tmpfs TARGET[:OPTIONS]` */
export function parseTmpfsFlag(text: string): TmpfsRequest {
  const [target = '', options = ''] = text.split(/:(.*)/s)
  const words = options === '' ? [] : options.split(',')
  return {
    type: 'tmpfs',
    target: checkTarget(target, text),
    readOnly: words.includes('ro'),
    options: words.filter((word) => word !== 'ro' && word !== 'rw').map(checkTmpfsOption),
  }
}

const TMPFS_FLAGS = new Set(
  'exec noexec suid nosuid dev nodev sync async dirsync atime noatime diratime nodiratime relatime norelatime strictatime nostrictatime bind rbind private rprivate shared rshared slave rslave unbindable runbindable defaults'.split(
    ' ',
  ),
)
const TMPFS_KEYS = new Set(['size', 'mode', 'uid', 'gid', 'nr_inodes', 'nr_blocks', 'mpol'])

function checkTmpfsOption(option: string): string {
  const [key = '', value] = option.split(/=(.*)/s)
  if (value === undefined ? TMPFS_FLAGS.has(key) : TMPFS_KEYS.has(key)) return option
  throw new RequestError(`invalid tmpfs option ${JSON.stringify(option)}: write for example size=64m or mode=1777`)
}

/** `--mount type=…,source=…,target=…,readonly`: comma-separated, a field may be in double quotes. */
export function parseMountFlag(text: string, directory: string): MountRequest {
  const fields = new Map<string, string>()
  const volumeLabels: string[] = []
  for (const field of csvFields(text)) {
    const [rawKey = '', value] = field.split(/=(.*)/s)
    const key = MOUNT_KEYS[rawKey.toLowerCase()]
    if (key === undefined)
      throw new RequestError(
        `unexpected key ${JSON.stringify(rawKey)} in --mount ${text}: the keys are ${[...new Set(Object.values(MOUNT_KEYS))].join(', ')}`,
      )
    if (value === undefined && !MOUNT_SWITCHES.has(key))
      throw new RequestError(`invalid field ${JSON.stringify(field)} in --mount: write KEY=VALUE`)
    if (key === 'volume-label') volumeLabels.push(value ?? '')
    fields.set(key, value ?? 'true')
  }
  const type = fields.get('type') ?? 'volume'
  const target = fields.get('target')
  if (target === undefined) throw new RequestError(`--mount ${text} has no target: add target=/a/path/in/the/container`)
  const common = { target: checkTarget(target, text), readOnly: booleanOf(fields, 'readonly') }
  const source = fields.get('source')
  for (const key of fields.keys()) {
    const [kind, more] = key.split('-')
    if (more !== undefined && kind !== type)
      throw new RequestError(`${key} is not for a mount of type ${type}: --mount ${text}`)
  }
  if (type === 'bind') {
    if (source === undefined)
      throw new RequestError(`--mount ${text} has no source: a bind needs source=/a/folder/of/this/machine`)
    const propagation = PROPAGATIONS.find((each) => each === (fields.get('bind-propagation') ?? 'rprivate'))
    if (!propagation)
      throw new RequestError(`invalid bind-propagation in --mount ${text}: it is one of ${PROPAGATIONS.join(', ')}`)
    if (!isAbsolute(source) && !source.startsWith('.'))
      throw new RequestError(
        `invalid source ${JSON.stringify(source)} in --mount ${text}: a bind's is an absolute path`,
      )
    return {
      type,
      source: resolve(directory, source),
      ...common,
      propagation,
      recursive: !booleanOf(fields, 'bind-nonrecursive'),
      makeSource: false,
    }
  }
  if (type === 'volume') {
    const driver = fields.get('volume-driver') ?? 'local'
    if (driver !== 'local') throw new RequestError(`there is no volume-driver ${driver}, only local: --mount ${text}`)
    return {
      type,
      ...(source === undefined ? {} : { name: checkVolumeName(source) }),
      ...common,
      noCopy: booleanOf(fields, 'volume-nocopy'),
      ...(volumeLabels.length > 0
        ? {
            labels: Object.fromEntries(
              volumeLabels.map((label) => label.split(/=(.*)/s, 2)).map(([key, value = '']) => [key, value]),
            ),
          }
        : {}),
    }
  }
  if (type === 'tmpfs') {
    if (source !== undefined) throw new RequestError(`--mount ${text}: a tmpfs has no source`)
    const size = fields.get('tmpfs-size')
    const mode = fields.get('tmpfs-mode')
    if (mode !== undefined && !/^[0-7]{1,5}$/.test(mode))
      throw new RequestError(`invalid tmpfs-mode ${mode}: write it in octal, for example 1777`)
    return {
      type,
      ...common,
      options: [
        ...(size === undefined ? [] : [`size=${parseBytes(size, 'tmpfs-size')}`]),
        ...(mode === undefined ? [] : [`mode=${mode}`]),
      ],
    }
  }
  throw new RequestError(`the mount type ${JSON.stringify(type)} is unknown: it is bind, volume or tmpfs`)
}

const MOUNT_KEYS: Readonly<Record<string, string>> = {
  type: 'type',
  source: 'source',
  src: 'source',
  target: 'target',
  dst: 'target',
  destination: 'target',
  readonly: 'readonly',
  ro: 'readonly',
  consistency: 'consistency',
  'bind-propagation': 'bind-propagation',
  'bind-nonrecursive': 'bind-nonrecursive',
  'volume-nocopy': 'volume-nocopy',
  'volume-label': 'volume-label',
  'volume-driver': 'volume-driver',
  'tmpfs-size': 'tmpfs-size',
  'tmpfs-mode': 'tmpfs-mode',
}
const MOUNT_SWITCHES = new Set(['readonly', 'bind-nonrecursive', 'volume-nocopy'])

function booleanOf(fields: ReadonlyMap<string, string>, key: string): boolean {
  const value = fields.get(key) ?? 'false'
  if (/^(1|true|t)$/i.test(value)) return true
  if (/^(0|false|f)$/i.test(value)) return false
  throw new RequestError(`invalid value ${JSON.stringify(value)} for ${key}: it is true or false`)
}

/** One line of RFC 4180. */
function csvFields(text: string): readonly string[] {
  const fields = [...text.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,"]*))(?=,|$)/g)]
  const length = fields.reduce((sum, [whole]) => sum + whole.length, 0)
  if (length !== text.length)
    throw new RequestError(`--mount ${text} cannot be read: put a field with commas in double quotes`)
  return fields.map(([, quoted, plain = '']) => quoted?.replaceAll('""', '"') ?? plain)
}

function checkTarget(target: string, text: string): string {
  if (!isAbsolute(target) || target.includes('\0'))
    throw new RequestError(
      `invalid volume ${JSON.stringify(text)}: ${JSON.stringify(target)} must be an absolute path in the container`,
    )
  const path = normalize(target).replace(/(.)\/$/, '$1')
  if (path === '/')
    throw new RequestError(`invalid volume ${JSON.stringify(text)}: nothing can be mounted over the container's root`)
  return path
}
