/**
 * A file as `htpasswd -B` makes it, as a source of users that the registry only reads. It is read again when it was changed;
 * a file that is gone or spoiled keeps out whoever is not in it, and the log says what is wrong with it.
 */
import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { reason } from '../reasons.ts'
import { isBcrypt } from './passwords.ts'

const LOOK_EVERY_MS = 1_000
const LARGEST_BYTES = 16 * 1024 * 1024

export interface HtpasswdUser {
  readonly hash: string
  /** Changes with the hash: tokens name it, and end with it. */
  readonly secretId: string
}

export class Htpasswd {
  readonly #path: string
  readonly #complain: (problem: string) => void
  #users: ReadonlyMap<string, HtpasswdUser> = new Map()
  #seen: string | undefined
  #lookedAtMs = Number.NEGATIVE_INFINITY
  #looking: Promise<void> | undefined

  /** `complain` is told once of each thing that is wrong with the file. */
  constructor(path: string, complain: (problem: string) => void) {
    this.#path = path
    this.#complain = complain
  }

  async find(name: string): Promise<HtpasswdUser | undefined> {
    if (performance.now() - this.#lookedAtMs >= LOOK_EVERY_MS) {
      this.#looking ??= this.#look().finally(() => {
        this.#looking = undefined
      })
      await this.#looking
    }
    return this.#users.get(name)
  }

  async #look(): Promise<void> {
    try {
      const { ino, size, mtimeMs, ctimeMs } = await stat(this.#path)
      const seen = [ino, size, mtimeMs, ctimeMs].join()
      if (seen !== this.#seen) {
        if (size > LARGEST_BYTES) throw new Error(`it is larger than ${LARGEST_BYTES} bytes`)
        this.#users = this.#parse(await readFile(this.#path, 'utf8'))
        this.#seen = seen
      }
    } catch (error) {
      if (this.#seen !== 'unreadable') this.#complain(`cannot read ${this.#path}: ${reason(error)}`)
      this.#seen = 'unreadable'
      this.#users = new Map()
    }
    this.#lookedAtMs = performance.now()
  }

  #parse(text: string): ReadonlyMap<string, HtpasswdUser> {
    const users = new Map<string, HtpasswdUser>()
    for (const [index, line] of text.split('\n').entries()) {
      const entry = line.trim()
      if (entry === '' || entry.startsWith('#')) continue
      const [name = '', hash = ''] = entry.split(':')
      if (isBcrypt(hash) && name !== '') users.set(name, { hash, secretId: idOf(hash) })
      else
        this.#complain(`${this.#path}:${index + 1}: expected NAME:HASH with a bcrypt hash, as \`htpasswd -B\` makes it`)
    }
    return users
  }
}

const idOf = (hash: string): string => createHash('sha256').update(hash).digest('hex').slice(0, 16)
