#!/usr/bin/env -S node --
/**
 * The command `gantry`: the one file that knows both halves. It must parse on an old Node, so that it can say in one line that
 * a newer one is needed. In a checkout it runs the sources with the pinned Node; in an installed package, what was compiled.
 * It imports nothing before it knows what it needs: a facade of each of Node's own modules takes a millisecond or five.
 */
const WANTED = [24, 12]
const OPERATOR_VERBS = ['serve', 'config', 'storage', 'user', 'robot', 'keys', 'policy', 'repo', 'init']

const beside = (path) => new URL(path, import.meta.url)
const [major, minor] = process.versions.node.split('.').map(Number)

if (major < WANTED[0] || (major === WANTED[0] && minor < WANTED[1])) await runWithNewerNode()
else await main(process.argv.slice(2))

async function runWithNewerNode() {
  const { existsSync } = await import('node:fs')
  const { fileURLToPath } = await import('node:url')
  const pinned = fileURLToPath(beside('../node_modules/.bin/node'))
  if (existsSync(beside('./cli.ts')) && existsSync(pinned)) {
    const [{ spawn }, { constants }] = await Promise.all([import('node:child_process'), import('node:os')])
    const child = spawn(pinned, ['--', fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' })
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2']) {
      process.on(signal, () => child.kill(signal)) // it decides what they mean; we end when it does
    }
    child.on('exit', (status, signal) => process.exit(signal ? 128 + constants.signals[signal] : status))
    return
  }
  process.stderr.write(
    `gantry needs Node ${WANTED.join('.')} or newer; this is ${process.version} (${process.execPath}). Get one from your distribution, from nodejs.org, or with \`npm install --global node@24\`.\n`,
  )
  process.exit(1)
}

async function main(argv) {
  const builtin = process.getBuiltinModule
  const { existsSync, readFileSync, writeSync } = builtin('node:fs')
  if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-v')) {
    const { version } = JSON.parse(readFileSync(beside('../package.json'), 'utf8'))
    writeSync(1, `gantry version ${version}\n`) // process.stdout would load all that a terminal needs
    return
  }
  // Not in the shared temporary folder, which is where Node would put it: what is cached is executed.
  const { createRequire, enableCompileCache } = builtin('node:module')
  const cache = process.env.XDG_CACHE_HOME || `${process.env.HOME || builtin('node:os').homedir()}/.cache`
  enableCompileCache(`${cache}/gantry/compile`)
  const inCheckout = existsSync(beside('./cli.ts'))
  const asked = argv[0] === 'help' && argv.length > 1 ? [...argv.slice(1), '--help'] : argv
  // `gantry import` of anything else makes an image.
  const isOperators = OPERATOR_VERBS.includes(asked[0]) || (asked[0] === 'import' && asked[1] === 'distribution')
  if (isOperators) {
    // libuv asks when its first thread is needed, and its usual four are too few for many who wait for the disk at once.
    process.env['UV_THREADPOOL_SIZE'] ??= '16'
    const { runServerCli } = await import(beside(inCheckout ? '../server/cli.ts' : '../dist/server/cli.js').href)
    process.exitCode = await runServerCli(asked)
  } else {
    if (process.getuid() !== 0) {
      const { enterUserNamespace } = await import(
        beside(inCheckout ? './rootless.ts' : '../dist/client/rootless.js').href
      )
      enterUserNamespace(builtin('node:url').fileURLToPath(import.meta.url), asked)
    }
    if (inCheckout) {
      const { runClientCli } = await import(beside('./cli.ts').href)
      process.exitCode = await runClientCli(asked)
    } else {
      const { openCommands } = createRequire(import.meta.url)('../dist/commands.cjs') // linked-commands.cjs
      const verb = asked.find((word, i) => !word.startsWith('-') && asked[i - 1] !== '--root')
      const commands = openCommands(`${cache}/gantry/code`, verb)
      process.exitCode = await commands.runClientCli(asked)
      commands.remember(process.exitCode)
      commands.leave(process.exitCode)
    }
  }
}
