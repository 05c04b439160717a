/** Uploads that are under way, in the user's own folder of state: so that a push that was killed goes on where it was, from whichever command. */
import { existsSync } from 'node:fs'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { ImmediateHash } from '../../native/hash.ts'
import { replaceFile } from '../store/store.ts'
import type { UploadJournal } from './upload.ts'

/** `$XDG_STATE_HOME/gantry`, or below `~/.local/state`. */
export const stateFolder = (environment: Readonly<Record<string, string | undefined>>): string =>
  join(environment['XDG_STATE_HOME'] || join(environment['HOME'] || homedir(), '.local', 'state'), 'gantry')

export const journalFolder = (environment: Readonly<Record<string, string | undefined>>): string =>
  join(stateFolder(environment), 'uploads')

/** A journal that cannot be written or read only costs what would have been saved: it never fails. */
export class UploadFiles implements UploadJournal {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  async find(key: string): Promise<string | undefined> {
    const path = this.#path(key)
    if (!existsSync(path)) return undefined // nearly always
    const text = await readFile(path, 'utf8').catch(() => undefined)
    const [location, kept] = text?.split('\n') ?? []
    return kept === key ? location : undefined
  }

  async remember(key: string, location: string): Promise<void> {
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 })
      // Whoever knows the address may write to it. To wait for the disk, twice a blob, would cost more than a loss of power can.
      await replaceFile(this.#path(key), `${location}\n${key}\n`, { durable: false })
    } catch {
      // see above
    }
  }

  async forget(key: string): Promise<void> {
    await rm(this.#path(key), { force: true }).catch(() => {})
  }

  #path(key: string): string {
    return join(this.#folder, new ImmediateHash('sha256').update(Buffer.from(key)).digestHex())
  }
}
