/**
 * The user's commands of the package as two files, dist/commands.cjs and dist/commands-more.cjs: to resolve and load a module, and a facade of each of Node's own that it
 * imports, again and again, is a third of the time of `gantry ps`. tsc makes CommonJS of the sources; here each becomes a function of one file,
 * called when it is first required. The library stays modules, and so does the server. In a checkout nothing is linked: the sources run.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'

const ENTRY = 'client/cli.js'
/** What is typed most, and waited for: these, and what they import, are in the file that is always read. The rest is read when it is needed. */
const FIRST = [
  ENTRY,
  ...'cli-containers cli-run verb-ps verb-run verb-exec verb-logs verb-attach verb-containers'
    .split(' ')
    .map((verb) => `client/verbs/${verb}.js`),
]
const root = fileURLToPath(new URL('..', import.meta.url))

const LOADER = `
const { posix } = require('node:path')
const loaded = new Map()
let more
function load(name) {
  const known = loaded.get(name)
  if (known) return known.exports
  const module = { exports: {} }
  loaded.set(name, module)
  const folder = posix.dirname(name)
  const own = (wanted) => (wanted.startsWith('.') ? load(posix.join(folder, wanted)) : require(wanted))
  if (!(name in modules)) more ??= require('./commands-more.cjs')
  ;(modules[name] ?? more[name])(module.exports, own, module)
  return module.exports
}
module.exports = load('${ENTRY}')
`

/** Files that a module finds beside itself are beside where it is in dist/, as a module. */
function linked(name, text) {
  const place = `require('node:url').pathToFileURL(__dirname + '/${name}').href`
  const whole = text.replaceAll('import.meta.url', `(${place})`)
  if (whole.includes('import.meta')) throw new Error(`${name} asks for more of import.meta than its url`)
  return `${JSON.stringify(name)}(exports, require, module) {\n${whole}\n}`
}

/** V8 reads what has other characters in twice the memory, and half the speed. Without comments they are in strings and expressions only. */
const inAscii = (text) =>
  text.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** With all that is imported when they are loaded. */
function closure(names, texts) {
  const found = new Set()
  const follow = (name) => {
    if (found.has(name)) return
    found.add(name)
    for (const [, wanted] of texts.get(name).matchAll(/^(?:const \S+ = )?(?:__\w+\()?require\("(\.[^"]+)"\)/gm))
      follow(posix.join(posix.dirname(name), wanted))
  }
  names.forEach(follow)
  return found
}

const folder = mkdtempSync(join(tmpdir(), 'gantry-link-'))
try {
  execFileSync('tsc', ['-p', join(root, 'tsconfig.commands.json'), '--outDir', folder], { stdio: 'inherit' })
  const names = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith('.js'))
  const texts = new Map(names.toSorted().map((name) => [name, readFileSync(join(folder, name), 'utf8')]))
  const first = closure(FIRST, texts)
  const listed = (wanted) =>
    [...texts]
      .filter(([name]) => wanted === first.has(name))
      .map(([name, text]) => linked(name, text))
      .join(',\n')
  writeFileSync(
    join(root, 'dist/commands.cjs'),
    inAscii(`'use strict'\nconst modules = {\n${listed(true)}\n}\n${LOADER}`),
  )
  writeFileSync(
    join(root, 'dist/commands-more.cjs'),
    inAscii(`'use strict'\nmodule.exports = {\n${listed(false)}\n}\n`),
  )
} finally {
  rmSync(folder, { recursive: true, force: true })
}
