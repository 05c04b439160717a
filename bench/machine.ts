/** The machine that figures belong to. */
import { readFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'

const GIB = 1024 ** 3

export function describeMachine(): string {
  const models = new Set(cpus().map(({ model }) => model.trim()))
  const memory = (totalmem() / GIB).toFixed(1)
  return `${[...models].join(' / ')}, ${cpus().length} cores, ${memory} GiB, Linux ${release()}, ${distribution()}, Node ${process.version}`
}

function distribution(): string {
  const [, name = 'unknown distribution'] = /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8')) ?? []
  return name
}
