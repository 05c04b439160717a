/** `gantry export`. */
import { randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { isatty } from 'node:tty'
import { exportContainer } from '../containers/export.ts'
import { openHouse } from '../containers/house.ts'
import { RequestError } from '../containers/request-error.ts'

/** Into a file, which appears when it is whole, or to standard output. */
export async function exportVerb(
  reference: string,
  flags: { readonly root: string; readonly output?: string },
): Promise<void> {
  const { root, output = '-' } = flags
  if (output === '-' && isatty(1))
    throw new RequestError('a tar is nothing for a terminal: give a file with -o FILE, or a pipe', 1)
  const tar = exportContainer(await openHouse(root), reference)
  if (output === '-') return await pipeline(tar, process.stdout)
  const temporary = join(dirname(output), `.gantry-${randomUUID()}`)
  try {
    await pipeline(tar, createWriteStream(temporary, { flags: 'wx', mode: 0o600 }))
    await rename(temporary, output)
  } finally {
    await rm(temporary, { force: true })
  }
}
