/** A command, as Commander knows it, becomes a page of the manual: roff, in the macros of man(7). Pure. */
import type { Command } from './cli-commander.ts'

/** What Commander says of an option that may be given several times. */
const NOTHING_GIVEN = / \(default: \[\]\)$/
/** Where a page stands in the manual: commands of users. */
const SECTION = 1

/** `version`: of Gantry, for the foot of the page. */
export function manPage(command: Command, version: string): string {
  const words = commandWords(command)
  const others = command.parent
    ? [words.slice(0, -1).join('-')]
    : verbsOf(command).map((verb) => `gantry-${verb.name()}`)
  return [
    `.TH ${roff(words.join('-').toUpperCase())} ${SECTION} "" "Gantry ${roff(version)}" "Gantry"`,
    '.SH NAME',
    `${roff(words.join('-'))} \\- ${roff(command.description())}`,
    ...synopsis(command, 'SH', 'SYNOPSIS'),
    ...options(command, 'SH', 'OPTIONS'),
    ...verbsOf(command).flatMap((verb) => (command.parent ? subcommand(verb) : verbLine(verb))),
    ...afterwards(command),
    '.SH SEE ALSO',
    others.map((name) => `\\fB${roff(name)}\\fR(${SECTION})`).join(',\n'),
    '',
  ].join('\n')
}

const commandWords = (command: Command): readonly string[] => [
  ...(command.parent ? commandWords(command.parent) : []),
  command.name(),
]

const verbsOf = (command: Command): readonly Command[] =>
  command
    .createHelp()
    .visibleCommands(command)
    .filter((verb) => verb.name() !== 'help')

function synopsis(command: Command, macro: string, heading: string): readonly string[] {
  const { aliases, usage } = { aliases: command.aliases(), usage: command.usage() }
  const words = commandWords(command).join(' ')
  return [
    `.${macro} ${heading}`,
    `\\fB${roff(words)}\\fR ${roff(usage)}`,
    ...(aliases.length > 0 ? ['.br', `also: ${roff(aliases.join(', '))}`] : []),
  ]
}

function options(command: Command, macro: string, heading: string): readonly string[] {
  const help = command.createHelp()
  const entries = [
    ...help.visibleArguments(command).map((each) => [help.argumentTerm(each), help.argumentDescription(each)] as const),
    ...help.visibleOptions(command).map((each) => [help.optionTerm(each), help.optionDescription(each)] as const),
  ]
  if (entries.length === 0) return []
  return [
    `.${macro} ${heading}`,
    ...entries.flatMap(([term, text]) => ['.TP', `\\fB${roff(term)}\\fR`, roff(text.replace(NOTHING_GIVEN, ''))]),
  ]
}

const verbLine = (verb: Command): readonly string[] => ['.TP', `\\fB${roff(verb.name())}\\fR`, roff(verb.description())]

function subcommand(verb: Command): readonly string[] {
  const words = commandWords(verb).join(' ')
  return [
    ...synopsis(verb, 'SH', roff(words.toUpperCase())),
    '.PP',
    roff(verb.description()),
    ...options(verb, 'SS', 'Options'),
  ]
}

/** What its help has behind the options: examples, as they are typed, and what else is to be said. */
function afterwards(command: Command): readonly string[] {
  const text: string[] = []
  const { writeOut } = command.configureOutput()
  command.configureOutput({ writeOut: (part) => text.push(part) })
  command.outputHelp()
  command.configureOutput(writeOut ? { writeOut } : {})
  const more = text.join('').slice(command.helpInformation().length).trim()
  if (more === '') return []
  const [first = '', ...rest] = more.split('\n')
  const [heading, body] = first === 'Examples:' ? ['EXAMPLES', rest] : ['NOTES', [first, ...rest]]
  return [`.SH ${heading}`, '.nf', ...body.map(roff), '.fi']
}

/** What roff obeys, or makes prettier, although it is to be typed as it is (groff_char(7)). */
const AS_IT_IS: Readonly<Record<string, string>> = {
  '\\': '\\e',
  '-': '\\-',
  "'": '\\(aq',
  '`': '\\(ga',
  '~': '\\(ti',
  '^': '\\(ha',
}

/** Nothing of it is roff's to change; nor does a dot begin a line. */
const roff = (text: string): string =>
  text.replaceAll(/[\\\-'`~^]/g, (character) => AS_IT_IS[character] ?? '').replaceAll(/^(?=\.)/gm, '\\&')
