/**
 * Reading what a monitor has logged (docker's json-file format): the files in order, from the last lines or a time on, and further as more is written,
 * also while the files are rotated underneath.
 */
import { type FSWatcher, watch } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { join } from 'node:path'

export interface LogEntry {
  readonly stream: 'stdout' | 'stderr'
  /** RFC 3339 in UTC with nine decimals: times compare as texts. */
  readonly time: string
  /** A line with its end, or 16 KiB of one that goes on in the next entry. */
  readonly text: string
}

export interface LogOptions {
  /** Only the last so many. */
  readonly tail?: number
  /** Only those of this time or later, up to this time; written as `time` of an entry is. */
  readonly since?: string
  readonly until?: string
  /** Goes on until this settles, and then to the end; or until `signal` aborts. */
  readonly follow?: Promise<unknown>
  readonly signal?: AbortSignal
}

const NAME = 'container.log'
const CHUNK_BYTES = 64 * 1024
const NEWLINE = 0x0a

/** Throws the signal's reason when it aborts. What is no entry (a line that a killed monitor left behind) is passed over. */
export async function* readContainerLog(folder: string, options: LogOptions = {}): AsyncGenerator<LogEntry> {
  const changes = options.follow ? new Changes(folder, options.follow) : undefined
  const files = await LogFiles.open(folder)
  try {
    if (options.tail !== undefined) await files.seekLast(options.tail)
    for (let last = false; !last; ) {
      last = changes?.begin() ?? true // what is written from here on is told
      for await (const line of files.lines()) {
        options.signal?.throwIfAborted()
        const entry = parseEntry(line)
        if (!entry || (options.since !== undefined && entry.time < options.since)) continue
        if (options.until !== undefined && entry.time > options.until) return
        yield entry
      }
      if (!last) await changes?.next(options.signal)
    }
  } finally {
    changes?.close()
    await files.close()
  }
}

function parseEntry(line: string): LogEntry | undefined {
  try {
    const { log, stream, time } = JSON.parse(line) as Readonly<Record<string, unknown>>
    if (typeof log !== 'string' || typeof time !== 'string') return undefined
    return stream === 'stdout' || stream === 'stderr' ? { stream, time, text: log } : undefined
  } catch {
    return undefined
  }
}

/** Tells when the folder has changed since the last look, so that no change is missed and none is waited for twice. */
class Changes {
  readonly #watcher: FSWatcher
  #changed = Promise.withResolvers<void>()
  #over = false

  constructor(folder: string, over: Promise<unknown>) {
    this.#watcher = watch(folder, () => this.#changed.resolve())
    this.#watcher.on('error', () => this.#changed.resolve())
    const end = (): void => {
      this.#over = true
      this.#changed.resolve()
    }
    over.then(end, end)
  }

  /** A look begins; true if it is the last. */
  begin(): boolean {
    this.#changed = Promise.withResolvers()
    return this.#over
  }

  async next(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    const abort = (): void => this.#changed.reject(signal?.reason)
    signal?.addEventListener('abort', abort)
    if (this.#over) this.#changed.resolve() // between the beginning of the look and now
    try {
      await this.#changed.promise
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }

  close(): void {
    this.#watcher.close()
  }
}

interface OpenFile {
  readonly handle: FileHandle
  readonly inode: number
}

/** The files of a log, the oldest first, and where in them reading goes on. */
class LogFiles {
  readonly #folder: string
  readonly #files: OpenFile[]
  #at = 0
  #unfinished: Buffer = Buffer.alloc(0)

  private constructor(folder: string, files: OpenFile[]) {
    this.#folder = folder
    this.#files = files
  }

  static async open(folder: string): Promise<LogFiles> {
    return new LogFiles(folder, await openNewer(folder, undefined))
  }

  /** Whole lines that are there and were not read yet. */
  async *lines(): AsyncGenerator<string> {
    while (true) {
      const [file, newer] = this.#files
      if (!file) {
        await this.#findNewer()
        if (this.#files.length === 0) return
        continue
      }
      const { buffer, bytesRead } = await file.handle.read({
        buffer: Buffer.allocUnsafe(CHUNK_BYTES),
        position: this.#at,
      })
      if (bytesRead > 0) {
        this.#at += bytesRead
        yield* this.#split(buffer.subarray(0, bytesRead))
      } else if (newer || (await this.#findNewer())) {
        // Nothing is written to this one any more; but something may have been since it was read.
        if ((await file.handle.stat()).size > this.#at) continue
        this.#files.shift()
        this.#at = 0
        this.#unfinished = Buffer.alloc(0)
        await file.handle.close()
      } else {
        return
      }
    }
  }

  /** Goes to the last so many lines of all. */
  async seekLast(count: number): Promise<void> {
    let left = count + 1 // the end of the line before them
    for (let index = this.#files.length - 1; index >= 0; index -= 1) {
      const { handle } = this.#files[index] as OpenFile
      let end = (await handle.stat()).size
      while (end > 0) {
        const start = Math.max(0, end - CHUNK_BYTES)
        const { buffer } = await handle.read({ buffer: Buffer.alloc(end - start), position: start })
        for (let at = buffer.lastIndexOf(NEWLINE); at >= 0; at = at === 0 ? -1 : buffer.lastIndexOf(NEWLINE, at - 1)) {
          left -= 1
          if (left > 0) continue
          for (const skipped of this.#files.splice(0, index)) await skipped.handle.close()
          this.#at = start + at + 1
          return
        }
        end = start
      }
    }
  }

  async close(): Promise<void> {
    for (const { handle } of this.#files) await handle.close()
  }

  *#split(chunk: Buffer): Generator<string> {
    let rest = this.#unfinished.length === 0 ? chunk : Buffer.concat([this.#unfinished, chunk])
    for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE)) {
      yield rest.toString('utf8', 0, end)
      rest = rest.subarray(end + 1)
    }
    this.#unfinished = Buffer.from(rest)
  }

  async #findNewer(): Promise<boolean> {
    const files = await openNewer(this.#folder, this.#files.at(-1)?.inode)
    this.#files.push(...files)
    return files.length > 0
  }
}

/** Files that are newer than the one with that inode, the oldest first; all, if it is not among them any more. */
async function openNewer(folder: string, inode: number | undefined): Promise<OpenFile[]> {
  while (true) {
    const files: OpenFile[] = []
    const newest = await inodeOf(join(folder, NAME))
    // They are renamed one by one, upwards, and so is this read: none is missed, one may be met twice, one number may be free.
    for (let number = 0, free = 0; free < 2; number += 1) {
      const file = await openFile(join(folder, number === 0 ? NAME : `${NAME}.${number}`))
      free = file ? 0 : free + 1
      const known = file && (file.inode === inode || files.some((other) => other.inode === file.inode))
      if (file && !known) files.unshift(file)
      else await file?.handle.close()
      if (file && file.inode === inode) break
    }
    if ((await inodeOf(join(folder, NAME))) === newest) return files
    // A new one was begun meanwhile: their order means nothing.
    for (const { handle } of files) await handle.close()
  }
}

async function openFile(path: string): Promise<OpenFile | undefined> {
  const handle = await open(path, 'r').catch(absent)
  return handle && { handle, inode: (await handle.stat()).ino }
}

const inodeOf = async (path: string): Promise<number | undefined> => (await stat(path).catch(absent))?.ino

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}
