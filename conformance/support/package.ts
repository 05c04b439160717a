/** The published package, as `npm pack` makes it, where nobody has our sources. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** For the package's command: it looks for Node there. */
export const PATH_WITH_NODE = `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}`

const checkout = dirname(dirname(import.meta.dirname))

/** Below `folder`, which is there: the folder of the package. */
export function installPackage(folder: string): string {
  const { version } = JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8')) as { version: string }
  execFileSync('npm', ['pack', '--pack-destination', folder, '--loglevel=error'], {
    cwd: checkout,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const installed = join(folder, 'node_modules', 'gantry')
  mkdirSync(installed, { recursive: true })
  execFileSync('tar', ['-xzf', join(folder, `gantry-${version}.tgz`), '-C', installed, '--strip-components=1'])
  // What a registry would install beside it; taken from the checkout, because tests talk to no registry of packages.
  for (const name of readdirSync(join(checkout, 'node_modules')))
    if (!name.startsWith('.') && name !== 'node')
      symlinkSync(join(checkout, 'node_modules', name), join(folder, 'node_modules', name))
  return installed
}
