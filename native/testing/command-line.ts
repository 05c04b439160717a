// The runtime's command line at work on a bench: what a suite says to it, and the end of all that it started.
import assert from 'node:assert/strict'
import { type Bench, type BundleConfig, dockerConfig } from './bundle.ts'
import { type CliResult, runCli } from './cli.ts'

/** `bench` is asked for at each use: a suite opens its own before its first test. */
export function commandLine(bench: () => Bench) {
  const started: string[] = []

  const cli = (...args: string[]): Promise<CliResult> => runCli(bench().stateRoot, args)

  const ok = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await cli(...args)
    assert.equal(code, 0, `${args.join(' ')}: ${stderr}`)
    return stdout
  }

  const fails = async (code: number, pattern: RegExp, ...args: string[]): Promise<void> => {
    const result = await cli(...args)
    assert.equal(result.code, code, `${args.join(' ')} ended with ${result.code}: ${result.stderr}`)
    assert.match(result.stderr, pattern)
  }

  /** Of a container that `end` deletes. */
  const nextId = (): string => {
    const id = bench().nextId()
    started.push(id)
    return id
  }

  /** docker's container, changed as the test wants it, with `sleep` as its first process: its id. */
  const start = async (
    change: (config: BundleConfig) => unknown = () => {},
    prepare?: (rootfs: string) => Promise<void>,
  ): Promise<string> => {
    const config = dockerConfig('sleep', '60')
    change(config)
    const id = nextId()
    await ok('run', '--detach', '-b', await bench().bundle(config, prepare), id)
    return id
  }

  const stateOf = async (id: string): Promise<{ pid: number; status: string }> => JSON.parse(await ok('state', id))

  /** After each test: nothing is left of it. */
  const end = async (): Promise<void> => {
    for (const id of started.splice(0)) await cli('delete', '--force', id)
    assert.deepEqual(await bench().leftovers(), [])
  }

  return { cli, ok, fails, nextId, start, stateOf, end }
}
