/** A question before something cannot be undone. */
import { createInterface } from 'node:readline/promises'
import type { Output } from './output.ts'

/** Whether the answer is yes; an end of the input is none. */
export async function confirm(what: string, output: Output): Promise<boolean> {
  output.note(`WARNING! ${what}`)
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const closed = new Promise<string>((resolve) => lines.once('close', () => resolve('')))
    return /^y(es)?$/i.test(
      (await Promise.race([lines.question('Are you sure you want to continue? [y/N] '), closed])).trim(),
    )
  } finally {
    lines.close()
  }
}
