/**
 * Makes a checkout ready, and says what it does: installs the locked dependencies (the pinned Node among them) when the lock
 * file changed, and builds `native/` when its sources changed. Does nothing, quickly, when nothing changed.
 * Runs on whatever Node the machine has: it is what brings the right one.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const stampFile = join(root, 'node_modules', '.gantry-installed')

const say = (text) => process.stderr.write(`gantry: ${text}\n`)

/** @param {string} command @param {string[]} args @param {Record<string, string>} [environment] */
function run(command, args, environment = {}) {
  const result = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 2, 2],
    env: { ...process.env, ...environment },
  })
  if (result.error) {
    say(`cannot run ${command}: ${result.error.message}. It is needed to set this checkout up.`)
    process.exit(1)
  }
  if (result.status !== 0) {
    say(
      `\`${command} ${args.join(' ')}\` failed (${result.signal ?? `exit status ${result.status}`}); its output is above.`,
    )
    process.exit(1)
  }
}

// Two commands started at once in a fresh checkout must not both install: the second waits for the first, then finds all done.
if (!process.env.GANTRY_SETUP_LOCKED) {
  run('flock', [root, process.execPath, fileURLToPath(import.meta.url)], { GANTRY_SETUP_LOCKED: '1' })
  process.exit(0)
}

const wanted = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .digest('hex')
if (!existsSync(stampFile) || readFileSync(stampFile, 'utf8') !== wanted) {
  say('installing dependencies (npm ci)')
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'])
  writeFileSync(stampFile, wanted)
}

const upToDate = spawnSync('make', ['-q', '-C', join(root, 'native')], { stdio: 'ignore' }).status === 0
if (!upToDate) {
  say('building native/ (make)')
  run('make', ['-C', 'native', '-j2', '--no-print-directory'])
}
