/** What a file of verbs gets from the command line (`cli.ts`), and the options that several verbs have. */

import type { Platform } from '../model/platform.ts'
import { type Command, InvalidArgumentError, Option } from './cli-commander.ts'
import type { Output } from './output.ts'

export interface Cli {
  readonly output: Output
  /** `usage` begins with the verb, which the table in `cli.ts` has; `help` is printed below the options. */
  verb(usage: string, help?: string): Command
  /** With the folder of the local store, wherever it was said. */
  withRoot<Flags extends object>(flags: Flags): Flags & { readonly root: string }
  setExitCode(code: number): void
  /** The verb that was typed: a file of several with many options describes only that one. */
  readonly asked: string | undefined
  /** All of the command, the operator's too. */
  readonly verbs: readonly string[]
  /** What is known of a verb, all its options among it, or of the whole command; `undefined` for an operator's, which the server describes. */
  described(verb?: string): Promise<Command | undefined>
}

/** Of verbs that show progress on standard error. */
export const withProgress = (command: Command): Command =>
  command
    .addOption(
      new Option('--progress <style>', 'how to show what is going on')
        .choices(['auto', 'tty', 'plain', 'json'])
        .default('auto'),
    )
    .option('-q, --quiet', 'say nothing but the result')

export const withPlainHttp = (command: Command): Command =>
  command.option('--plain-http', 'speak http, not https, to the registry')

export const withPlatform = (command: Command): Command =>
  command.option('--platform <os/arch[/variant]>', 'of an image for several (default: this machine)', parsePlatform)

export const withJson = (command: Command): Command => command.option('--json', 'as JSON')

/** Of verbs that print a list. */
export const listing = (command: Command): Command =>
  withJson(command).option('-q, --quiet', 'only the ids').option('--format <format>', 'table, json, or a template')

function parsePlatform(text: string): Platform {
  const [os, architecture, variant, ...more] = text.split('/')
  if (!os || !architecture || more.length > 0)
    throw new InvalidArgumentError('Write OS/ARCH or OS/ARCH/VARIANT, for example linux/arm64.')
  return { os, architecture, ...(variant ? { variant } : {}) }
}

/** Of an option that may be given several times. */
export const collected = (value: string, before: readonly string[]): readonly string[] => [...before, value]

/** Docker's way to give a switch a value: `--rm=false`. Call it before the action, and after the options. */
export function booleansByValue(command: Command): Command {
  const parse = command.parseOptions.bind(command)
  command.parseOptions = (words) => parse(withPlainSwitches(command.options, words))
  return command
}

const TRUE = /^(1|t|true)$/i
const FALSE = /^(0|f|false)$/i

/** As far as the options go: what follows the first argument is not ours. */
function withPlainSwitches(options: readonly Option[], words: readonly string[]): string[] {
  const plain: string[] = []
  let at = 0
  for (; at < words.length; at++) {
    const word = words[at] ?? ''
    if (!word.startsWith('-') || word === '-' || word === '--') break
    if (!word.startsWith('--')) {
      const letters = plainLetters(options, word)
      plain.push(...letters)
      if (letters[0] === word && takesNext(options, word)) plain.push(...words.slice(++at, at + 1))
      continue
    }
    const [name = '', value] = word.split(/=(.*)/s)
    const opposite = `--no-${name.slice(2)}`
    const option = options.find(({ long }) => long === name) ?? options.find(({ long }) => long === opposite)
    if (value !== undefined && option && !option.required && !option.optional) {
      const isOn = switchedOn(name, value)
      if (option.long === opposite ? !isOn : isOn) plain.push(option.long ?? name)
      continue
    }
    plain.push(word)
    if (value === undefined && takesNext(options, word)) plain.push(...words.slice(++at, at + 1))
  }
  return [...plain, ...words.slice(at)]
}

function switchedOn(name: string, value: string): boolean {
  const isOn = TRUE.test(value)
  if (!isOn && !FALSE.test(value))
    throw new InvalidArgumentError(`invalid value ${value} for ${name}: it is true or false.`)
  return isOn
}

/** `-w=/tmp` is `-w /tmp`, and `-it=false` is `-i`. */
function plainLetters(options: readonly Option[], word: string): readonly string[] {
  for (let i = 1; i < word.length; i++) {
    const name = `-${word[i]}`
    const option = options.find(({ short }) => short === name)
    if (option === undefined) break
    const value = /^=(.+)$/s.exec(word.slice(i + 1))?.[1]
    if (value === undefined && option.required) break
    if (value === undefined) continue
    const before = word.slice(0, i)
    if (option.required) return [`${before}${word[i]}`, value]
    return switchedOn(name, value) ? [`${before}${word[i]}`] : i > 1 ? [before] : []
  }
  return [word]
}

/** Of `-it`, the last letter may be one that takes a value; `-eNAME` has it. */
function takesNext(options: readonly Option[], word: string): boolean {
  if (word.startsWith('--')) return options.some(({ long, required }) => long === word && required)
  for (let i = 1; i < word.length; i++) {
    const option = options.find(({ short }) => short === `-${word[i]}`)
    if (option?.required) return i === word.length - 1
  }
  return false
}
