/**
 * `npm run bench [registry|flat|blob|storage|images|runtime|containers]`: measures beside peers in one run, and prints what came out. Nothing is asserted:
 * figures of a busy machine are worth little, and every machine has its own.
 */

import { benchContainers } from './containers.ts'
import { benchFlat } from './flat.ts'
import { benchImages } from './images.ts'
import { benchLargeBlob } from './large-blob.ts'
import { describeMachine } from './machine.ts'
import { benchRegistry } from './registry.ts'
import { benchRuntime } from './runtime.ts'
import { benchStorage } from './storage.ts'

const BENCHES = {
  registry: benchRegistry,
  flat: benchFlat,
  blob: benchLargeBlob,
  storage: benchStorage,
  images: benchImages,
  runtime: benchRuntime,
  containers: benchContainers,
} as const

const say = (text: string): void => {
  process.stderr.write(`bench: ${text}\n`)
}

/** `registry:PUT` is `registry`, and only what has PUT in its name. */
const wanted = new Map(
  process.argv.slice(2).map((argument) => argument.split(/:(.*)/) as [name: string, only: string | undefined]),
)
const unknown = [...wanted.keys()].filter((name) => !Object.hasOwn(BENCHES, name))
if (unknown.length > 0) {
  say(`there is no ${unknown.join(' or ')}; there are ${Object.keys(BENCHES).join(', ')}`)
  process.exitCode = 2
} else {
  process.stdout.write(`${describeMachine()}\n`)
  for (const [name, bench] of Object.entries(BENCHES)) {
    if (wanted.size === 0 || wanted.has(name)) process.stdout.write(`\n${await bench(say, wanted.get(name))}\n`)
  }
}
