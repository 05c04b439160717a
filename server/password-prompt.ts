/** Asks a person for a password: typed twice and not shown; or takes the first line of standard input, for scripts. */
import { buffer } from 'node:stream/consumers'
import { SHORTEST_PASSWORD } from './access/passwords.ts'

export class PasswordUnusable extends Error {
  override readonly name = 'PasswordUnusable'
}

const [ENTER, CONTROL_C, CONTROL_D, BACKSPACE, DELETE] = ['\r', '\u0003', '\u0004', '\b', '\u007f']

/** Throws `PasswordUnusable` for one that is too short, typed in two ways, or not given at all. */
export async function askPassword(fromStdin: boolean): Promise<string> {
  if (fromStdin) return demandLong((await buffer(process.stdin)).toString('utf8').split(/\r?\n/)[0] ?? '')
  if (!process.stdin.isTTY) throw new PasswordUnusable('this is no terminal: give the password with --password-stdin')
  const first = demandLong(await typed('Password: '))
  if ((await typed('Again: ')) !== first) throw new PasswordUnusable('the two passwords differ')
  return first
}

function demandLong(password: string): string {
  if (password.length >= SHORTEST_PASSWORD) return password
  throw new PasswordUnusable(`the password has ${password.length} characters, expected ${SHORTEST_PASSWORD} at least`)
}

async function typed(prompt: string): Promise<string> {
  const { stdin, stderr } = process
  stderr.write(prompt)
  stdin.setRawMode(true)
  stdin.setEncoding('utf8')
  let text = ''
  try {
    for await (const piece of stdin.iterator({ destroyOnReturn: false }) as AsyncIterable<string>) {
      for (const character of piece) {
        if (character === ENTER || character === '\n') return text
        if (character === CONTROL_C || character === CONTROL_D) throw new PasswordUnusable('no password was given')
        text = character === BACKSPACE || character === DELETE ? text.slice(0, -1) : text + character
      }
    }
    return text
  } finally {
    stdin.setRawMode(false)
    stdin.pause()
    stderr.write('\n')
  }
}
