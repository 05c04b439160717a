/** What a test needs of the machine, so that it can be skipped by name with the reason where that is missing. */
import { constants } from 'node:fs'
import { access, realpath } from 'node:fs/promises'
import { delimiter, join } from 'node:path'

/** Where Debian puts what only root uses. */
const SYSTEM_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin']

/** The executables with that name, in the order in which a shell would find them: one path, without links, for each. */
export async function findAll(tool: string): Promise<readonly string[]> {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...SYSTEM_FOLDERS]
  const found = new Set<string>()
  for (const folder of folders) {
    const path = join(folder, tool)
    const there = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (there) found.add(await realpath(path))
  }
  return [...found]
}

/** For `skip`: why the test cannot run here, or `false`. */
export async function missing(...tools: readonly string[]): Promise<string | false> {
  if (process.getuid?.() !== 0) return 'needs root'
  const absent: string[] = []
  for (const tool of tools) if ((await findAll(tool)).length === 0) absent.push(tool)
  return absent.length > 0 && `not installed: ${absent.join(', ')}`
}
