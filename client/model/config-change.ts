/** Docker's `--change`: lines of a Dockerfile about an image's configuration. */

/** What runs, and how: the `config` of an image's configuration (image-spec, config.md). */
export type RunConfig = Readonly<Record<string, unknown>>

/** A line that is none of these, or says it wrongly; the message says what would be right. */
export class ChangeError extends Error {
  override readonly name = 'ChangeError'
}

type Instruction = (value: string, before: RunConfig) => RunConfig

const INSTRUCTIONS: Readonly<Record<string, Instruction>> = {
  CMD: (value) => ({ Cmd: commandIn(value) }),
  ENTRYPOINT: (value) => ({ Entrypoint: commandIn(value) }),
  ENV: (value, { Env }) => ({ Env: withVariable(Array.isArray(Env) ? (Env as readonly string[]) : [], value) }),
  EXPOSE: (value, { ExposedPorts }) => ({
    ExposedPorts: { ...(ExposedPorts as object | undefined), ...portsIn(value) },
  }),
  LABEL: (value, { Labels }) => ({ Labels: { ...(Labels as object | undefined), ...labelIn(value) } }),
  STOPSIGNAL: (value) => ({ StopSignal: value.trim() }),
  USER: (value) => ({ User: value.trim() }),
  VOLUME: (value, { Volumes }) => ({ Volumes: { ...(Volumes as object | undefined), ...volumesIn(value) } }),
  WORKDIR: (value) => ({ WorkingDir: value.trim() }),
}

/** One after the other, over what was there before. Throws `ChangeError`. */
export function changedConfig(changes: readonly string[], before: RunConfig = {}): RunConfig {
  let config = before
  for (const change of changes) {
    const [, word = '', value = ''] = /^\s*(\w+)[\s=]+(.*)$/s.exec(change) ?? []
    const instruction = INSTRUCTIONS[word.toUpperCase()]
    if (instruction === undefined)
      throw new ChangeError(
        `--change ${JSON.stringify(change)}: it must be one of ${Object.keys(INSTRUCTIONS).join(', ')} and what it is to be`,
      )
    config = { ...config, ...instruction(value, config) }
  }
  return config
}

/** As a JSON list, or as a line for the shell. */
function commandIn(value: string): readonly string[] {
  const text = value.trim()
  if (!text.startsWith('[')) return ['/bin/sh', '-c', value]
  const list = listIn(text)
  if (list === undefined)
    throw new ChangeError(`${text} is no command: write a JSON list of texts (["echo", "hi"]), or a line for the shell`)
  return list
}

function listIn(text: string): readonly string[] | undefined {
  try {
    const list: unknown = JSON.parse(text)
    if (Array.isArray(list) && list.every((each) => typeof each === 'string')) return list
  } catch {}
  return undefined
}

/** `NAME=VALUE`, or `NAME VALUE`; in the place of what the name had. */
function withVariable(before: readonly string[], value: string): readonly string[] {
  const [, name, text = ''] = /^\s*([^\s=]+)[\s=](.*)$/s.exec(value) ?? []
  if (name === undefined) throw new ChangeError(`ENV ${value} has no value: write ENV NAME=VALUE`)
  return [...before.filter((each) => !each.startsWith(`${name}=`)), `${name}=${unquoted(text)}`]
}

function labelIn(text: string): Readonly<Record<string, string>> {
  const [, key, value = ''] = /^\s*("[^"]*"|[^\s="]+)[\s=](.*)$/s.exec(text) ?? []
  if (key === undefined) throw new ChangeError(`LABEL ${text} has no value: write LABEL NAME=VALUE`)
  return { [unquoted(key)]: unquoted(value) }
}

const unquoted = (text: string): string => text.replace(/^"(.*)"$/s, '$1')

/** `8080`, `53/udp`, several of them. */
const portsIn = (text: string): Readonly<Record<string, object>> =>
  Object.fromEntries(
    text
      .trim()
      .split(/\s+/)
      .map((port) => {
        if (!/^\d{1,5}(\/(tcp|udp|sctp))?$/.test(port))
          throw new ChangeError(`EXPOSE ${text}: ${port} is no port: write 8080, or 53/udp`)
        return [port.includes('/') ? port : `${port}/tcp`, {}]
      }),
  )

const volumesIn = (text: string): Readonly<Record<string, object>> =>
  Object.fromEntries((listIn(text.trim()) ?? text.trim().split(/\s+/)).map((path) => [path, {}]))
