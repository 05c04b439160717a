/**
 * Builds the fuzzers of native/fuzz/ and runs each for GANTRY_FUZZ_SECONDS (600), two at a time, from the seeds and from what
 * earlier runs found (native/build/sanitized/corpus). An input that breaks something is kept, and how to repeat it is said.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { SEEDS } from './fuzz-seeds.ts'

const DEFAULT_SECONDS = 600
const AT_ONCE = 2
const native = fileURLToPath(new URL('..', import.meta.url))
const sanitized = join(native, 'build/sanitized')
const seconds = Number(process.env['GANTRY_FUZZ_SECONDS'] ?? DEFAULT_SECONDS)

/** Resolves to its exit code and the last that it said. */
async function run(command: string, args: readonly string[], cwd: string): Promise<{ code: number; said: string }> {
  const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-20_000)
    })
  }
  const [code] = (await once(child, 'close')) as [number | null]
  return { code: code ?? 1, said }
}

/** Whether it found nothing. */
async function fuzz(name: string): Promise<boolean> {
  const corpus = join(sanitized, 'corpus', name)
  const found = join(sanitized, 'found')
  await Promise.all([corpus, found].map((path) => mkdir(path, { recursive: true })))
  const seeds = SEEDS[name] ?? []
  await Promise.all(seeds.map((seed, i) => writeFile(join(corpus, `seed-${i}`), seed)))
  const limits = [`-max_total_time=${seconds}`, '-timeout=10', '-rss_limit_mb=1024', '-max_len=16384']
  const { code, said } = await run(
    join(sanitized, 'fuzz', name),
    [...limits, `-artifact_prefix=${found}/${name}-`, corpus],
    native,
  )
  const [, runs = '0'] = /Done (\d+) runs/.exec(said) ?? []
  process.stdout.write(`fuzz: ${name}: ${code === 0 ? `${runs} runs, nothing found` : 'FOUND SOMETHING'}\n`)
  if (code === 0) return true
  const [, artifact = '(no file)'] = /Test unit written to (\S+)/.exec(said) ?? []
  process.stdout.write(`${said}\nfuzz: to repeat it: ${join(sanitized, 'fuzz', name)} ${artifact}\n`)
  return false
}

const build = await run('make', ['-j2', '--no-print-directory', 'fuzzers'], native)
if (build.code !== 0) {
  process.stderr.write(
    `${build.said}\nfuzz: the fuzzers need clang-19 and libclang-rt-19-dev (CLANGXX=… for another)\n`,
  )
  process.exit(1)
}
const names = (await readdir(join(native, 'fuzz')))
  .filter((name) => name.endsWith('.cc'))
  .map((name) => name.slice(0, -3))
const waiting = names.sort()
let clean = true
const worker = async (): Promise<void> => {
  for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) clean = (await fuzz(name)) && clean
}
await Promise.all(Array.from({ length: AT_ONCE }, worker))
process.exitCode = clean ? 0 : 1
