/** `gantry save`, `gantry load` and `gantry import`. */
import { isatty } from 'node:tty'
import type { ArchiveFormat } from '../images/archive-writer.ts'
import type { LocalImage } from '../images/images.ts'
import { importTar, load, save } from '../images/save-load.ts'
import { openTransport } from '../registry/registry-access.ts'
import type { Transport } from '../registry/transport.ts'
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
  const { root, format } = flags
  const saved = await showingProgress(flags, 'no archive was written', (shown) =>
    save(names, toPipe ? process.stdout : (flags.output ?? ''), { ...shown, root, format }),
  )
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
  const { root, platform, tag } = flags
  const loaded = await showingProgress(flags, 'what was loaded whole is kept', (shown) =>
    load(isPipe ? process.stdin : (flags.input ?? ''), {
      ...shown,
      root,
      ...(platform ? { platform } : {}),
      ...(tag === undefined ? {} : { as: tag }),
    }),
  )
  sayImages(loaded, { ...flags, quiet: false }, 'Loaded image: ', output) // -q is about progress: scripts read this line
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
  const { root, platform, message, change: changes } = flags
  await using transport = /^https?:\/\//.test(from) ? await transportTo(new URL(from)) : undefined
  const image = await showingProgress(flags, 'nothing was imported', async ({ signal }) => {
    const options = { root, changes, signal, ...(platform ? { platform } : {}), ...(message ? { message } : {}) }
    return await importTar(await tarAt(from, transport, signal), name, options)
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

function sayImages(images: readonly LocalImage[], { json, quiet }: PullFlags, prefix: string, output: Output): void {
  const asJson = images.map(({ name, id, manifestDigest: digest, sizeBytes }) => ({ name, id, digest, sizeBytes }))
  if (json) output.line(JSON.stringify(asJson))
  else for (const { name, id } of images) output.line(quiet ? id : `${prefix}${name}`)
}
