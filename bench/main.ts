/**
 * `npm run bench [registry|runtime]`: measures beside peers in one run, and prints what came out. Nothing is asserted:
 * figures of a busy machine are worth little, and every machine has its own.
 */

import { describeMachine } from './machine.ts'
import { benchRegistry } from './registry.ts'
import { benchRuntime } from './runtime.ts'

const BENCHES = { registry: benchRegistry, runtime: benchRuntime } as const

const say = (text: string): void => {
  process.stderr.write(`bench: ${text}\n`)
}

const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => !Object.hasOwn(BENCHES, name))
if (unknown.length > 0) {
  say(`there is no ${unknown.join(' or ')}; there are ${Object.keys(BENCHES).join(', ')}`)
  process.exitCode = 2
} else {
  process.stdout.write(`${describeMachine()}\n`)
  for (const [name, bench] of Object.entries(BENCHES)) {
    if (wanted.length === 0 || wanted.includes(name)) process.stdout.write(`\n${await bench(say)}\n`)
  }
}
