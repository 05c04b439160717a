/** The house has rooms and one-way doors (ARCHITECTURE.md, "The house"); this reads the import lines and holds them to it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'

const root = dirname(import.meta.dirname)

/** Which rooms a room may import from, itself aside. */
const DOORS: Readonly<Record<string, readonly string[]>> = {
  native: [],
  storage: ['native'],
  server: ['storage', 'native'],
  client: ['storage', 'native'],
}

/** The same for the rooms of the client; `cli.ts` and the library stand above them. */
const CLIENT_DOORS: Readonly<Record<string, readonly string[]>> = {
  verbs: ['containers', 'images', 'registry', 'store', 'model'],
  containers: ['images', 'store', 'model'],
  images: ['containers', 'registry', 'store', 'model'], // containers: who needs an image that is to go
  registry: ['store', 'model'],
  store: ['model'],
  model: [],
}

/** The launcher is the one file that knows both halves: it picks one by the verb and imports nothing across. */
const LAUNCHER = 'client/gantry.mjs'

/** Each third-party package has one place: a file, or a room where its types travel. */
const PACKAGE_PLACES: Readonly<Record<string, RegExp>> = {
  koa: /^server\//,
  '@koa/router': /^server\//,
  '@aws-sdk/client-s3': /^storage\/s3\//,
  '@aws-sdk/s3-request-presigner': /^storage\/s3\/redirect\.ts$/,
  jsonwebtoken: /^server\/access\/tokens\.ts$/,
  bcryptjs: /^server\/access\/bcrypt-thread\.ts$/,
  'tar-stream': /^client\//,
  pino: /^server\//,
  'prom-client': /^server\//,
  zod: /^server\/|^client\/registry\/settings-file\.ts$/,
  yaml: /^server\/|^client\/registry\/settings-file\.ts$/,
  commander: /^(client\/verbs|server)\/cli|^client\/cli\.ts$/,
  'fast-check': /\.test\.ts$|\/testing\//,
}

interface Import {
  readonly file: string
  readonly specifier: string
}

const isTest = (file: string) => file.endsWith('.test.ts') || file.includes('/testing/')

function sources(): readonly string[] {
  return execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', ...Object.keys(DOORS)], {
    cwd: root,
    encoding: 'utf8',
  })
    .split('\n')
    .filter((file) => /\.(ts|mjs)$/.test(file))
}

function importsOf(file: string): readonly Import[] {
  const text = readFileSync(join(root, file), 'utf8')
  const lines = text.matchAll(
    /^\s*(?:import|export)\b[^'"\n;]*?(?:\{[^}]*\}[^'"\n;]*?)?from\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]|^import\s*['"]([^'"]+)['"]/gm,
  )
  return [...lines].map((match) => ({ file, specifier: match[1] ?? match[2] ?? match[3] ?? '' }))
}

const packageOf = (specifier: string) =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')

const all = sources().flatMap(importsOf)
const inside = all.filter(({ specifier }) => specifier.startsWith('.'))

test('rooms import only through their doors: server and client never meet, native knows nobody', () => {
  assert.ok(inside.length > 50, 'the import lines were found')
  const broken = inside.flatMap(({ file, specifier }) => {
    const target = normalize(join(dirname(file), specifier))
    const [from = '', to = ''] = [file.split('/')[0], target.split('/')[0]]
    const allowed = from === to || DOORS[from]?.includes(to) || file === LAUNCHER || isTest(file)
    return allowed ? [] : [`${file} imports ${target}`]
  })
  assert.deepEqual(broken, [])
})

test('rooms of the client import only what lies below them', () => {
  const broken = inside.flatMap(({ file, specifier }) => {
    const target = normalize(join(dirname(file), specifier))
    const [from, to] = [file, target].map((path) => /^client\/(\w+)\//.exec(path)?.[1])
    if (from === undefined || isTest(file) || !target.startsWith('client/')) return []
    return from === to || CLIENT_DOORS[from]?.includes(to ?? 'cli') ? [] : [`${file} imports ${target}`]
  })
  assert.deepEqual(broken, [])
})

test('product code never imports tests or what supports them', () => {
  const broken = inside.filter(
    ({ file, specifier }) => !isTest(file) && isTest(normalize(join(dirname(file), specifier))),
  )
  assert.deepEqual(broken, [])
})

test('each third-party package is imported in its one place', () => {
  const broken = all.flatMap(({ file, specifier }) => {
    if (specifier.startsWith('.') || specifier.startsWith('node:')) return []
    const place = PACKAGE_PLACES[packageOf(specifier)]
    if (isTest(file)) return []
    return place?.test(file) ? [] : [`${file} imports ${specifier}`]
  })
  assert.deepEqual(broken, [])
})

test('inside a room imports form no cycle', () => {
  const edges = new Map<string, string[]>()
  for (const { file, specifier } of inside) {
    if (isTest(file)) continue
    edges.set(file, [...(edges.get(file) ?? []), normalize(join(dirname(file), specifier))])
  }
  const done = new Set<string>()
  const cycles: string[] = []
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(' → '))
    if (done.has(file) || path.includes(file)) return
    for (const next of edges.get(file) ?? []) visit(next, [...path, file])
    done.add(file)
  }
  for (const file of edges.keys()) visit(file, [])
  assert.deepEqual(cycles, [])
})
