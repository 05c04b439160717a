/**
 * `--format` as docker's users write it: the part of Go's templates that is of use there. Fields and nested fields, `json`, `index`, `len`, `join`,
 * `split`, `upper`, `lower`, `title`, `truncate`, `println`, `printf`, `eq` and its kind, `and`, `or`, `not`, pipes, variables, and `range`, `if`, `with`, `else`, `end`.
 */

/** The template cannot be read, or does not fit what it is about; the message says where. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError'
}

/** What a template is about: plain data, with fields as docker names them. */
export type Data = unknown

type Node =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'print'; readonly pipe: Pipe }
  | {
      readonly kind: 'if' | 'with'
      readonly pipe: Pipe
      readonly then: readonly Node[]
      readonly otherwise: readonly Node[]
    }
  | {
      readonly kind: 'range'
      readonly names: readonly string[]
      readonly pipe: Pipe
      readonly then: readonly Node[]
      readonly otherwise: readonly Node[]
    }

interface Pipe {
  readonly variable: string | undefined
  readonly commands: readonly (readonly Term[])[]
}

type Term =
  | { readonly kind: 'value'; readonly value: Data }
  | { readonly kind: 'field'; readonly path: readonly string[] }
  | { readonly kind: 'variable'; readonly name: string; readonly path: readonly string[] }
  | { readonly kind: 'word'; readonly word: string }
  | { readonly kind: 'pipe'; readonly pipe: Pipe; readonly path: readonly string[] }

interface Scope {
  readonly dot: Data
  readonly variables: ReadonlyMap<string, Data>
}

/** Throws `TemplateError`. */
export function compileTemplate(text: string): (data: Data) => string {
  const parser = new Parser(text)
  const nodes = parser.parse()
  return (data) => render(nodes, { dot: data, variables: new Map([['$', data]]) })
}

class Parser {
  readonly #pieces: { readonly text?: string; readonly action?: string }[] = []
  #at = 0

  constructor(text: string) {
    let rest = text
    for (;;) {
      const start = rest.indexOf('{{')
      if (start < 0) break
      const end = rest.indexOf('}}', start)
      if (end < 0)
        throw new TemplateError(`template parsing error: unclosed action in ${JSON.stringify(text)}: "{{" without "}}"`)
      let before = rest.slice(0, start)
      let action = rest.slice(start + 2, end)
      rest = rest.slice(end + 2)
      if (/^-\s/.test(action)) {
        action = action.slice(1)
        before = before.trimEnd()
      }
      if (/\s-$/.test(action)) {
        action = action.slice(0, -1)
        rest = rest.trimStart()
      }
      if (before !== '') this.#pieces.push({ text: before })
      if (!/^\s*\/\*/.test(action)) this.#pieces.push({ action: action.trim() })
    }
    if (rest !== '') this.#pieces.push({ text: rest })
  }

  parse(): readonly Node[] {
    const { nodes, end } = this.#block()
    if (end !== undefined) throw new TemplateError(`template parsing error: unexpected {{${end}}}`)
    return nodes
  }

  /** Up to an `else`, `end`, or the end of the text. */
  #block(): { readonly nodes: readonly Node[]; readonly end: string | undefined } {
    const nodes: Node[] = []
    while (this.#at < this.#pieces.length) {
      const { text, action = '' } = this.#pieces[this.#at++] ?? {}
      if (text !== undefined) nodes.push({ kind: 'text', text })
      else if (action === 'end' || action === 'else' || action.startsWith('else ')) return { nodes, end: action }
      else nodes.push(this.#action(action))
    }
    return { nodes, end: undefined }
  }

  #action(action: string): Node {
    const [, word = '', rest = ''] = /^(range|if|with)\s+(.*)$/s.exec(action) ?? []
    if (word === '') return { kind: 'print', pipe: parsePipe(action) }
    return this.#control(word as 'range' | 'if' | 'with', rest)
  }

  #control(word: 'range' | 'if' | 'with', rest: string): Node {
    const [, names = '', source = rest] =
      word === 'range' ? (/^((?:\$\w+\s*,\s*)?\$\w+)\s*:=\s*(.*)$/s.exec(rest) ?? []) : []
    const pipe = parsePipe(source)
    const { nodes: then, end } = this.#block()
    let otherwise: readonly Node[] = []
    if (end?.startsWith('else ')) otherwise = [this.#control('if', end.replace(/^else\s+if\s+/, ''))]
    else if (end === 'else') {
      const block = this.#block()
      if (block.end !== 'end') throw new TemplateError(`template parsing error: {{${word}}} without {{end}}`)
      otherwise = block.nodes
    } else if (end !== 'end') throw new TemplateError(`template parsing error: {{${word}}} without {{end}}`)
    if (word !== 'range') return { kind: word, pipe, then, otherwise }
    return { kind: word, names: names === '' ? [] : names.split(',').map((name) => name.trim()), pipe, then, otherwise }
  }
}

const TOKEN =
  /\s*(?:("(?:[^"\\]|\\.)*")|(`[^`]*`)|('(?:[^'\\]|\\.)')|(-?\d+(?:\.\d+)?)|(\$\w*)|((?:\.\w+)+|\.)|(\w+)|(:=|[()|]))/y

/** `A | f x | g`; `$v := …`. */
function parsePipe(text: string): Pipe {
  const tokens: string[] = []
  TOKEN.lastIndex = 0
  let at = 0
  while (text.slice(at).trim() !== '') {
    TOKEN.lastIndex = at
    const match = TOKEN.exec(text)
    if (!match)
      throw new TemplateError(
        `template parsing error: cannot read ${JSON.stringify(text.slice(at).trim())} in {{${text}}}`,
      )
    const adjacent = match[6] !== undefined && !/^\s/.test(match[0]) && at > 0
    tokens.push(adjacent && match[6] !== '.' ? `+${match[6]}` : match[0].trim())
    at = TOKEN.lastIndex
  }
  if (tokens.length === 0) throw new TemplateError('template parsing error: missing value for command in {{}}')
  let position = 0
  const variable = tokens[1] === ':=' ? tokens[0] : undefined
  if (variable !== undefined) position = 2
  const pipe = pipeline()
  if (position < tokens.length)
    throw new TemplateError(`template parsing error: unexpected ${tokens[position]} in {{${text}}}`)
  return { variable, commands: pipe.commands }

  function pipeline(): Pipe {
    const commands: Term[][] = [[]]
    for (; position < tokens.length && tokens[position] !== ')'; position++) {
      const token = tokens[position] ?? ''
      if (token === '|') commands.push([])
      else if (token.startsWith('+')) extend(commands.at(-1) ?? [], token.slice(2).split('.'))
      else commands.at(-1)?.push(term(token))
    }
    if (commands.some((words) => words.length === 0))
      throw new TemplateError(`template parsing error: missing value for command in {{${text}}}`)
    return { variable: undefined, commands }
  }

  function extend(words: Term[], path: readonly string[]): void {
    const last = words.pop()
    if (last?.kind !== 'variable' && last?.kind !== 'pipe' && last?.kind !== 'field')
      throw new TemplateError(`template parsing error: unexpected .${path.join('.')} in {{${text}}}`)
    words.push({ ...last, path: [...last.path, ...path] })
  }

  function term(token: string): Term {
    if (token === '(') {
      position++
      const pipe = pipeline()
      if (tokens[position] !== ')') throw new TemplateError(`template parsing error: unclosed "(" in {{${text}}}`)
      return { kind: 'pipe', pipe, path: [] }
    }
    if (token.startsWith('"')) return { kind: 'value', value: JSON.parse(token) }
    if (token.startsWith('`')) return { kind: 'value', value: token.slice(1, -1) }
    if (token.startsWith("'")) return { kind: 'value', value: token.charCodeAt(1) }
    if (/^-?\d/.test(token)) return { kind: 'value', value: Number(token) }
    if (token.startsWith('$')) return { kind: 'variable', name: token, path: [] }
    if (token.startsWith('.')) return { kind: 'field', path: token === '.' ? [] : token.slice(1).split('.') }
    if (token === 'true' || token === 'false') return { kind: 'value', value: token === 'true' }
    if (token === 'nil') return { kind: 'value', value: null }
    return { kind: 'word', word: token }
  }
}

function render(nodes: readonly Node[], scope: Scope): string {
  let text = ''
  let variables = scope.variables
  for (const node of nodes) {
    const here: Scope = { dot: scope.dot, variables }
    if (node.kind === 'text') {
      text += node.text
      continue
    }
    const value = run(node.pipe, here)
    if (node.kind === 'print') {
      if (node.pipe.variable === undefined) text += printValue(value)
      else variables = new Map([...variables, [node.pipe.variable, value]])
    } else if (node.kind === 'range') text += renderRange(node, value, here)
    else if (isTrue(value)) text += render(node.then, node.kind === 'with' ? { ...here, dot: value } : here)
    else text += render(node.otherwise, here)
  }
  return text
}

function renderRange(node: Extract<Node, { kind: 'range' }>, value: Data, scope: Scope): string {
  const entries: readonly (readonly [Data, Data])[] = Array.isArray(value)
    ? value.map((each: Data, i) => [i, each])
    : typeof value === 'object' && value !== null
      ? Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))
      : []
  if (entries.length === 0) return render(node.otherwise, scope)
  const [first, second] = node.names
  return entries
    .map(([key, each]) => {
      const variables = new Map(scope.variables)
      if (second !== undefined) variables.set(first ?? '', key).set(second, each)
      else if (first !== undefined) variables.set(first, each)
      return render(node.then, { dot: each, variables })
    })
    .join('')
}

function run({ commands }: Pipe, scope: Scope): Data {
  let piped: readonly Data[] = []
  for (const [head, ...rest] of commands) {
    if (head === undefined) continue
    const values = rest.map((term) => evaluate(term, scope))
    if (head.kind === 'word') piped = [call(head.word, [...values, ...piped])]
    else if (values.length + piped.length > 0) {
      const method = evaluate(head, scope)
      if (typeof method === 'function') piped = [method(...values, ...piped)]
      else throw new TemplateError(`template: ${describe(head)} is no function and takes no arguments`)
    } else piped = [evaluate(head, scope)]
  }
  return piped[0]
}

function evaluate(term: Term, scope: Scope): Data {
  if (term.kind === 'value') return term.value
  if (term.kind === 'word') return call(term.word, [])
  if (term.kind === 'field') return fieldOf(scope.dot, term.path)
  if (term.kind === 'pipe') return fieldOf(run(term.pipe, scope), term.path)
  if (!scope.variables.has(term.name)) throw new TemplateError(`template: undefined variable ${term.name}`)
  return fieldOf(scope.variables.get(term.name), term.path)
}

const describe = (term: Term): string => (term.kind === 'field' ? `.${term.path.join('.')}` : term.kind)

function fieldOf(from: Data, path: readonly string[]): Data {
  let value = from
  for (const name of path) {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new TemplateError(`template: can't evaluate field ${name} in ${JSON.stringify(value) ?? 'nothing'}`)
    if (!(name in value)) {
      if (isOpen(value)) return undefined
      const known = Object.keys(value)
      throw new TemplateError(`template: there is no field ${name} here; there are ${known.slice(0, 40).join(', ')}`)
    }
    value = (value as Readonly<Record<string, Data>>)[name] ?? null
  }
  return value
}

/** Maps whose keys are anybody's: a key that is missing is no mistake. */
const isOpen = (value: object): boolean =>
  !Object.keys(value).every((key) => /^[A-Z]/.test(key)) || Object.keys(value).length === 0

const FUNCTIONS: Readonly<Record<string, (...values: readonly Data[]) => Data>> = {
  json: (value) => JSON.stringify(value ?? null),
  len: (value) =>
    typeof value === 'object' && value !== null ? Object.keys(value).length : String(value ?? '').length,
  index: (from, ...keys) => keys.reduce(elementOf, from),
  slice: (from, start = 0, end = undefined) => {
    const whole = Array.isArray(from) ? from : printValue(from)
    const [first, last] = [Number(start), Number(end ?? whole.length)]
    if (!(first >= 0 && first <= last && last <= whole.length))
      throw new TemplateError(`template: error calling slice: index out of range: ${last}`)
    return whole.slice(first, last)
  },
  join: (list, separator) => (Array.isArray(list) ? list : []).map(printValue).join(String(separator)),
  split: (text, separator) => String(text ?? '').split(String(separator)),
  upper: (text) => printValue(text).toUpperCase(),
  lower: (text) => printValue(text).toLowerCase(),
  title: (text) => printValue(text).replace(/\b\p{L}/gu, (letter) => letter.toUpperCase()),
  pad: (text, before, after) => ' '.repeat(Number(before)) + printValue(text) + ' '.repeat(Number(after)),
  truncate: (text, length) => printValue(text).slice(0, Number(length)),
  print: (...values) => values.map(printValue).join(''),
  println: (...values) => `${values.map(printValue).join(' ')}\n`,
  printf: (format, ...values) => printFormatted(String(format), values),
  not: (value) => !isTrue(value),
  and: (...values) => values.find((value) => !isTrue(value)) ?? values.at(-1),
  or: (...values) => values.find(isTrue) ?? values.at(-1),
  eq: (value, ...others) => others.some((other) => other === value),
  ne: (a, b) => a !== b,
  lt: (a, b) => (a as number) < (b as number),
  le: (a, b) => (a as number) <= (b as number),
  gt: (a, b) => (a as number) > (b as number),
  ge: (a, b) => (a as number) >= (b as number),
}

/** Of a list it has to be one; what a map of anybody's keys does not have is empty. */
function elementOf(from: Data, key: Data): Data {
  if (typeof from !== 'object' || from === null)
    throw new TemplateError(`template: error calling index: ${printValue(from)} has no elements`)
  if (Array.isArray(from) && !(Number(key) in from))
    throw new TemplateError(`template: error calling index: index out of range: ${printValue(key)}`)
  return (from as Readonly<Record<string, Data>>)[String(key)] ?? (isOpen(from) ? '' : null)
}

function call(name: string, values: readonly Data[]): Data {
  const known = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined
  if (known === undefined)
    throw new TemplateError(
      `template parsing error: function ${JSON.stringify(name)} not defined; there are ${Object.keys(FUNCTIONS).join(', ')}`,
    )
  return known(...values)
}

function printFormatted(format: string, values: readonly Data[]): string {
  let next = 0
  return format.replace(/%(-?)(\d*)(?:\.\d+)?([svdqtxf%])/g, (_, left: string, width: string, verb: string) => {
    if (verb === '%') return '%'
    const value = values[next++]
    const text =
      verb === 'q' ? JSON.stringify(printValue(value)) : verb === 'x' ? Number(value).toString(16) : printValue(value)
    return left ? text.padEnd(Number(width)) : text.padStart(Number(width))
  })
}

function isTrue(value: Data): boolean {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0
  return Boolean(value)
}

/** As Go prints it. */
function printValue(value: Data): string {
  if (value === undefined) return '<no value>'
  if (value === null) return '<nil>'
  if (Array.isArray(value)) return `[${value.map(printValue).join(' ')}]`
  if (typeof value === 'object') {
    const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))
    return isOpen(value)
      ? `map[${entries.map(([key, each]) => `${key}:${printValue(each)}`).join(' ')}]`
      : `{${Object.values(value).map(printValue).join(' ')}}`
  }
  return String(value)
}
