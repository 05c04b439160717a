/** The native launcher in a package of its own: the checkout's sources are its commands, it keeps recipes, and whoever becomes Node is counted. */
import { chmod, copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const LAUNCHER = fileURLToPath(new URL('../../native/build/gantry', import.meta.url))
const COMMAND = fileURLToPath(new URL('../gantry.mjs', import.meta.url))

export interface LauncherPackage {
  /** The command. */
  readonly launcher: string
  /** Of a process that is to find our Node. */
  readonly path: string
  /** How often it has become Node until now. */
  nodes(): Promise<number>
}

/** In `folder`, which is made. Another `version` of the package knows no recipe of this one. */
export async function launcherPackage(folder: string, version = '0'): Promise<LauncherPackage> {
  const launcher = join(folder, 'dist/native/build/gantry')
  const count = join(folder, 'nodes')
  await mkdir(dirname(launcher), { recursive: true })
  await mkdir(join(folder, 'client'))
  await copyFile(LAUNCHER, launcher)
  await chmod(launcher, 0o755)
  await symlink(join(dirname(LAUNCHER), 'gantry-runtime'), join(dirname(launcher), 'gantry-runtime'))
  await writeFile(count, '')
  await writeFile(
    join(folder, 'client/gantry.mjs'),
    `import { appendFileSync } from 'node:fs'\nappendFileSync(${JSON.stringify(count)}, 'n')\nawait import(${JSON.stringify(pathToFileURL(COMMAND).href)})\n`,
  )
  await writeFile(join(folder, 'dist/commands-first.js'), `// ${version.padStart(64, '0')}\n`)
  return {
    launcher,
    path: `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}`,
    nodes: async () => (await readFile(count, 'utf8')).length,
  }
}
