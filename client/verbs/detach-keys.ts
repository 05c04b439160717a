/** The keys that take a person away from a container without ending it: `ctrl-p,ctrl-q` unless told otherwise. */

const USUAL = 'ctrl-p,ctrl-q'
const CONTROL: Readonly<Record<string, number>> = { '@': 0, '[': 27, '\\': 28, ']': 29, '^': 30, _: 31 }

/** `ctrl-X` or a character, with commas between. Throws an error that says so. */
export function parseDetachKeys(text: string = USUAL): Buffer {
  if (text === '') return Buffer.alloc(0)
  return Buffer.from(
    text.split(',').map((key) => {
      const [, control = ''] = /^ctrl-([a-z@[\\\]^_])$/i.exec(key) ?? []
      if (control !== '') return CONTROL[control] ?? control.toLowerCase().charCodeAt(0) - 96
      if (/^[\x20-\x7e]$/.test(key)) return key.charCodeAt(0)
      throw new DetachKeysError(
        `invalid detach keys ${JSON.stringify(text)}: write a character or ctrl- and a letter or one of @ [ \\ ] ^ _, with commas between, for example ${USUAL}`,
      )
    }),
  )
}

class DetachKeysError extends Error {
  override readonly name = 'DetachKeysError'
}

/** Finds the sequence in what is typed. The beginning of it is held back until it is clear that no more follows. */
export class KeyWatch {
  readonly #keys: Buffer
  #matched = 0

  constructor(keys: Buffer) {
    this.#keys = keys
  }

  /** What is for the container of this, and whether the sequence is complete: what comes after it is for nobody. */
  take(chunk: Buffer): { readonly pass: Buffer; readonly complete: boolean } {
    if (this.#keys.length === 0) return { pass: chunk, complete: false }
    const pass: number[] = []
    for (const byte of chunk) {
      if (byte !== this.#keys[this.#matched]) {
        pass.push(...this.#keys.subarray(0, this.#matched))
        this.#matched = 0
      }
      if (byte !== this.#keys[this.#matched]) pass.push(byte)
      else if (++this.#matched === this.#keys.length) return { pass: Buffer.from(pass), complete: true }
    }
    return { pass: Buffer.from(pass), complete: false }
  }
}
