/** `gantry save`, `gantry load` and `gantry import`. */
import { isatty } from 'node:tty'
import { openArchive } from '../images/archive.ts'
import { type ArchiveFormat, ArchiveWriter } from '../images/archive-writer.ts'
import { copyContent } from '../images/copy.ts'
import { Images, type LocalImage } from '../images/images.ts'
import { importImage } from '../images/import.ts'
import { pullImage } from '../images/pull.ts'
import { StoreSource } from '../images/store-source.ts'
import { parseImageName, printImageName } from '../model/image-name.ts'
import { openTransport } from '../registry/registry-access.ts'
import type { Transport } from '../registry/transport.ts'
import { StoreFolders } from '../store/store.ts'
import type { ProgressFlags, PullFlags } from './flags.ts'
import type { Output } from './output.ts'
import { showingProgress } from './progress-shown.ts'

type Rooted<Flags> = Flags & { readonly root: string }

export interface SaveFlags extends ProgressFlags {
  readonly output?: string
  readonly format: ArchiveFormat
}

export async function saveVerb(names: readonly string[], flags: Rooted<SaveFlags>, output: Output): Promise<void> {
  const toPipe = flags.output === undefined || flags.output === '-'
  if (toPipe && isatty(1)) throw new Error('an archive is nothing for a terminal: give a file with -o FILE, or a pipe')
  const store = await StoreFolders.open(flags.root)
  await using _ = await store.lock('store', 'shared') // nothing is swept meanwhile
  const from = new StoreSource(new Images(store).content)
  await using to = new ArchiveWriter(flags.format, toPipe ? process.stdout : (flags.output ?? ''))
  const saved = await showingProgress(flags, 'no archive was written', async (shown) => {
    const digests: { readonly name: string; readonly digest: string }[] = []
    for (const each of names) {
      const name = printImageName(parseImageName(each))
      const { digest } = await copyContent({ ...shown, from, reference: name, to, toReference: name, all: true })
      digests.push({ name, digest })
    }
    await to.complete()
    return digests
  })
  if (toPipe) return
  if (flags.json) output.line(JSON.stringify({ file: flags.output, images: saved }))
  else if (!flags.quiet) output.note(`${flags.output} has ${saved.map(({ name }) => name).join(', ')}`)
}

export async function loadVerb(
  flags: Rooted<PullFlags & { readonly input?: string; readonly tag?: string }>,
  output: Output,
): Promise<void> {
  const isPipe = flags.input === undefined || flags.input === '-'
  if (isPipe && isatty(0)) throw new Error('there is no archive on standard input: give a file with -i FILE, or a pipe')
  const store = await StoreFolders.open(flags.root)
  const images = new Images(store)
  await using source = await openArchive(
    isPipe ? process.stdin : (flags.input ?? ''),
    isPipe ? 'the archive' : (flags.input ?? ''),
  )
  const wanted = flags.tag === undefined ? await source.imageNames() : [{ reference: '', name: flags.tag }]
  if (wanted.length === 0)
    throw new Error(`${source.label} says no names of its images: give one with --tag HOST/NAME:TAG`)
  const loaded = await showingProgress(flags, 'what was loaded whole is kept', async (shown) => {
    const all: LocalImage[] = []
    const { platform } = flags
    for (const { reference, name } of wanted) {
      const options = { ...shown, reference, ...(platform ? { platform } : {}) }
      all.push(await pullImage({ store, images, source, options }, parseImageName(name)))
    }
    return all
  })
  sayImages(loaded, flags, 'Loaded image: ', output)
}

export interface ImportFlags extends PullFlags {
  readonly change: readonly string[]
  readonly message?: string
}

export async function importVerb(
  from: string,
  name: string,
  flags: Rooted<ImportFlags>,
  output: Output,
): Promise<void> {
  const parsed = parseImageName(name)
  const config = changed(flags.change)
  const store = await StoreFolders.open(flags.root)
  await using transport = /^https?:\/\//.test(from) ? await transportTo(new URL(from)) : undefined
  const image = await showingProgress(flags, 'nothing was imported', async ({ signal }) => {
    const source = await tarAt(from, transport, signal)
    const { platform, message } = flags
    const options = { config, signal, ...(platform ? { platform } : {}), ...(message ? { message } : {}) }
    return await importImage(store, new Images(store), source, parsed, options)
  })
  sayImages([image], flags, '', output)
}

const transportTo = (url: URL): Promise<Transport> =>
  openTransport(url.host, { plainHttp: url.protocol === 'http:', transport: { credential: async () => undefined } })

async function tarAt(
  from: string,
  transport: Transport | undefined,
  signal: AbortSignal,
): Promise<AsyncIterable<Uint8Array>> {
  if (transport)
    return transport.stream(await transport.ask({ method: 'GET', path: new URL(from), scopes: [], signal }))
  if (from === '-') return process.stdin
  const { createReadStream } = await import('node:fs')
  return createReadStream(from, { highWaterMark: 256 * 1024 })
}

/** As docker's `--change`: lines of a Dockerfile about the configuration. */
function changed(changes: readonly string[]): Readonly<Record<string, unknown>> {
  const config: Record<string, unknown> = {}
  for (const change of changes) {
    const [, word = '', value = ''] = /^\s*(\w+)[\s=]+(.*)$/s.exec(change) ?? []
    const list = (): readonly string[] =>
      value.trim().startsWith('[') ? (JSON.parse(value) as string[]) : ['/bin/sh', '-c', value]
    const known: Readonly<Record<string, () => void>> = {
      CMD: () => Object.assign(config, { Cmd: list() }),
      ENTRYPOINT: () => Object.assign(config, { Entrypoint: list() }),
      ENV: () =>
        Object.assign(config, {
          Env: [...((config['Env'] as string[] | undefined) ?? []), value.replace(/^(\w+)\s+/, '$1=')],
        }),
      USER: () => Object.assign(config, { User: value }),
      WORKDIR: () => Object.assign(config, { WorkingDir: value }),
      STOPSIGNAL: () => Object.assign(config, { StopSignal: value }),
      LABEL: () =>
        Object.assign(config, { Labels: { ...(config['Labels'] as object | undefined), ...labelIn(value) } }),
    }
    const apply = known[word.toUpperCase()]
    if (apply === undefined)
      throw new Error(
        `--change ${JSON.stringify(change)}: it must be one of ${Object.keys(known).join(', ')} and what it is to be`,
      )
    apply()
  }
  return config
}

function labelIn(text: string): Readonly<Record<string, string>> {
  const [key = '', value = ''] = text.split(/=(.*)/s)
  return { [key]: value.replace(/^"(.*)"$/s, '$1') }
}

function sayImages(images: readonly LocalImage[], { json, quiet }: PullFlags, prefix: string, output: Output): void {
  const asJson = images.map(({ name, id, manifestDigest: digest, sizeBytes }) => ({ name, id, digest, sizeBytes }))
  if (json) output.line(JSON.stringify(asJson))
  else for (const { name, id } of images) output.line(quiet ? id : `${prefix}${name}`)
}
