/**
 * The user's commands of the package as two files, dist/commands-first.js and dist/commands-more.js: to resolve and load a module, and a facade of each of Node's own that it
 * imports, again and again, is a third of the time of `gantry ps`. tsc makes CommonJS of the sources; here each becomes a function of one file,
 * called when something of it is first used (client/linked-commands.cjs), and so does commander. The library stays modules, and so does the server. In a checkout nothing is linked: the sources run.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
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

/** Files that a module finds beside itself are beside where it is in dist/, as a module. */
function linked(name, text) {
  const place = `require('node:url').pathToFileURL(__dirname + '/${name}').href`
  const whole = text
    .replaceAll('import.meta.url', `(${place})`)
    .replace(/\(0, \w+\.createRequire\)\(.*\)\('commander'\)/, `require('commander')`)
  if (whole.includes('import.meta')) throw new Error(`${name} asks for more of import.meta than its url`)
  // What stands for a module until it is used cannot be called itself, and is never used without a name.
  const [odd] = /^.*\b__importDefault\(require\("(?:\.|node:).*$|^require\(.*$/m.exec(whole) ?? []
  if (odd !== undefined) throw new Error(`${name} imports a module as a whole, or for its effects: ${odd}`)
  return `${JSON.stringify(name)}(exports, require, module, __dirname) {\n${whole}\n}`
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
  const commander = join(root, 'node_modules/commander')
  for (const name of ['index.js', ...readdirSync(join(commander, 'lib')).map((name) => `lib/${name}`)]) {
    texts.set(`commander/${name}`, readFileSync(join(commander, name), 'utf8'))
    first.add(`commander/${name}`)
  }
  const licence = `/* Of commander, the files of which are among these:\n${readFileSync(join(commander, 'LICENSE'), 'utf8')}*/`
  const [commandsFirst, commandsMore] = [true, false].map((isFirst) => {
    const chosen = [...texts].filter(([name]) => isFirst === first.has(name))
    const modules = chosen.map(([name, text]) => linked(name, text)).join(',\n')
    return inAscii(`${isFirst ? licence : ''}\n'use strict';\n({\n${modules}\n})\n`)
  })
  // Of both: what the first have made, the others may have made otherwise, and the native launcher looks at one line only.
  const digest = createHash('sha256').update(commandsFirst).update(commandsMore).digest('hex')
  writeFileSync(join(root, 'dist/commands-first.js'), `// ${digest}\n${commandsFirst}`)
  writeFileSync(join(root, 'dist/commands-more.js'), `// ${digest}\n${commandsMore}`)
  copyFileSync(join(root, 'client/linked-commands.cjs'), join(root, 'dist/commands.cjs'))
} finally {
  rmSync(folder, { recursive: true, force: true })
}
