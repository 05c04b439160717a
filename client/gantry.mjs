#!/usr/bin/env node
/**
 * The command `gantry`: the one file that knows both halves. It must parse on an old Node, so that it can say in one line that
 * a newer one is needed. In a checkout it runs the sources with the pinned Node; in an installed package, what was compiled.
 */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import * as nodeModule from 'node:module'
import { constants, homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const WANTED = [24, 12]
const OPERATOR_VERBS = ['serve', 'config', 'storage', 'user', 'robot', 'keys', 'policy', 'repo', 'init']

/** libuv asks when its first thread is needed, and its usual four are too few for many who wait for the disk at once. */
process.env['UV_THREADPOOL_SIZE'] ??= '16'

const beside = (path) => new URL(path, import.meta.url)
const inCheckout = existsSync(beside('./cli.ts'))
const [major, minor] = process.versions.node.split('.').map(Number)

if (major < WANTED[0] || (major === WANTED[0] && minor < WANTED[1])) runWithNewerNode()
else await main(process.argv.slice(2))

function runWithNewerNode() {
  const pinned = fileURLToPath(beside('../node_modules/.bin/node'))
  if (inCheckout && existsSync(pinned)) {
    const child = spawn(pinned, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' })
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
  // Not in the shared temporary folder, which is where Node would put it: what is cached is executed.
  nodeModule.enableCompileCache(join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'gantry', 'compile'))
  if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-v')) {
    const { version } = JSON.parse(readFileSync(beside('../package.json'), 'utf8'))
    process.stdout.write(`gantry version ${version}\n`)
    return
  }
  const asked = argv[0] === 'help' && argv.length > 1 ? [...argv.slice(1), '--help'] : argv
  // `gantry import` of anything else makes an image.
  const isOperators = OPERATOR_VERBS.includes(asked[0]) || (asked[0] === 'import' && asked[1] === 'distribution')
  if (isOperators) {
    const { runServerCli } = await import(half('server'))
    process.exitCode = await runServerCli(asked)
  } else {
    if (process.getuid() !== 0) {
      const { enterUserNamespace } = await import(
        beside(inCheckout ? './rootless.ts' : '../dist/client/rootless.js').href
      )
      enterUserNamespace(fileURLToPath(import.meta.url), asked)
    }
    const { runClientCli } = await import(half('client'))
    process.exitCode = await runClientCli(asked)
  }
}

function half(name) {
  return beside(inCheckout ? `../${name}/cli.ts` : `../dist/${name}/cli.js`).href
}
