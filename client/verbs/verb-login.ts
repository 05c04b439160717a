/** `gantry login` and `gantry logout`. */

import { createInterface } from 'node:readline/promises'
import { text } from 'node:stream/consumers'
import { isatty } from 'node:tty'
import { parseRegistry } from '../model/image-name.ts'
import { login, logout } from '../registry/login.ts'
import type { CommonFlags } from './flags.ts'
import type { Output } from './output.ts'

export interface LoginFlags extends CommonFlags {
  readonly username?: string
  readonly password?: string
  readonly passwordStdin?: boolean
  readonly plainHttp?: boolean
}

export async function loginVerb(registryText: string, flags: LoginFlags, output: Output): Promise<void> {
  const registry = parseRegistry(registryText)
  const credential = { username: flags.username ?? (await askFor('Username: ')), password: await passwordOf(flags) }
  if (credential.username === '' || credential.password === '') throw new Error('a user name and a password are needed')
  const { where, inClear } = await login(registry, credential, { plainHttp: flags.plainHttp })
  if (flags.json)
    return output.line(JSON.stringify({ registry, username: credential.username, keptIn: where, inClear }))
  if (inClear)
    output.note(
      `gantry: the password is kept unencrypted in ${where}; a credential helper (credsStore) would keep it safe`,
    )
  output.line('Login Succeeded')
}

export async function logoutVerb(registryText: string, flags: CommonFlags, output: Output): Promise<void> {
  const registry = parseRegistry(registryText)
  const removed = await logout(registry)
  if (flags.json) return output.line(JSON.stringify({ registry, removed }))
  output.line(removed ? `Removed the credentials of ${registry}` : `Nobody is logged in to ${registry}`)
}

async function passwordOf({ password, passwordStdin }: LoginFlags): Promise<string> {
  if (password !== undefined) return password
  if (passwordStdin) return (await text(process.stdin)).replace(/\r?\n$/, '')
  return await askFor('Password: ', true)
}

/** On the terminal; what is typed is shown unless it is a secret. */
async function askFor(question: string, isSecret = false): Promise<string> {
  if (!isatty(0)) throw new Error('there is no terminal to ask at: give --username NAME and --password-stdin')
  process.stderr.write(question)
  const silent = {
    write: () => true,
    end: () => {},
    on: () => silent,
    once: () => silent,
    removeListener: () => silent,
  }
  const reader = createInterface({
    input: process.stdin,
    output: isSecret ? (silent as unknown as NodeJS.WritableStream) : process.stderr,
    terminal: isSecret, // so that the terminal does not show it either
  })
  try {
    const answer = await new Promise<string>((resolve, reject) => {
      reader.once('line', resolve)
      reader.once('close', () => reject(new Error('nothing was typed')))
      reader.once('SIGINT', () => reject(new Error('interrupted')))
    })
    if (isSecret) process.stderr.write('\n')
    return answer
  } finally {
    reader.close()
  }
}
