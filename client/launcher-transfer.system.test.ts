/** `gantry copy` and `gantry push` by the native launcher beside Node's: from registry to registry, and from the store to a registry. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { buffer } from 'node:stream/consumers'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { allContent, type Content, contentOf, imageOf, noise, type Slug } from '../conformance/interop/content.ts'
import { assertStored, pushOver } from '../conformance/interop/moves.ts'
import { closed, type Finished, killGroup, run, startGroup, until } from '../conformance/support/commands.ts'
import { startDistribution } from '../conformance/support/distribution.ts'
import { findAll } from '../conformance/support/needs.ts'
import { Workspace } from '../conformance/support/workspace.ts'
import { type ServedApp, serveApp } from '../server/testing/served-app.ts'
import { digestOf } from '../storage/model/digest.ts'
import { LockFile } from './store/locks.ts'
import { type Alteration, alteredRegistry } from './testing/altered-registry.ts'
import { type LauncherPackage, launcherPackage } from './testing/launcher-package.ts'
import type { ScriptedRegistry } from './testing/scripted-registry.ts'

const COMMAND = fileURLToPath(new URL('gantry.mjs', import.meta.url))
const MiB = 1024 * 1024
const PATIENCE_MS = 30_000
/** Kinds of content of which there is more to know than the launcher does. */
const NODES: readonly Slug[] = ['nested', 'subject', 'foreign', 'sha512']
const skip = process.getuid?.() === 0 ? false : 'the store of root needs root'
const [distribution] = await findAll('docker-registry')
const largestOf = ({ blobs }: Content): { readonly digest: string; readonly bytes: Buffer } =>
  [...blobs].map(([digest, bytes]) => ({ digest, bytes })).reduce((a, b) => (a.bytes.length > b.bytes.length ? a : b))
/** Of the ordinary image, a layer that does not go in one piece. */
const LARGEST = largestOf(await contentOf('image'))

describe('the launcher', { skip }, () => {
  let workspace: Workspace
  let package_: LauncherPackage
  let env: NodeJS.ProcessEnv
  let from: ServedApp
  let to: ServedApp
  before(async () => {
    workspace = await Workspace.open()
    package_ = await launcherPackage(workspace.path('package'))
    env = { ...workspace.env, PATH: package_.path, GANTRY_ROOT: workspace.path('store') }
    from = await serveApp()
    to = await serveApp()
    for (const content of await allContent()) await pushOver(from.url, `kinds/${content.slug}`, content)
  })
  after(async () => {
    await from[Symbol.asyncDispose]()
    await to[Symbol.asyncDispose]()
    const left = await workspace.leftovers()
    await workspace[Symbol.asyncDispose]()
    assert.deepEqual(left, [])
  })

  const hostOf = ({ url }: ServedApp): string => new URL(url).host
  const byNode = (words: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<Finished> =>
    run(process.execPath, [COMMAND, ...words], { env: { ...env, ...more } })
  const byLauncher = async (
    words: readonly string[],
    more: NodeJS.ProcessEnv = {},
  ): Promise<Finished & { readonly nodes: number }> => {
    const before = await package_.nodes()
    const finished = await run(package_.launcher, words, { env: { ...env, ...more } })
    return { ...finished, nodes: (await package_.nodes()) - before }
  }
  const alone = async (...words: readonly string[]): Promise<string> => {
    const { nodes, code, stdout, stderr } = await byLauncher(words)
    assert.deepEqual({ code, nodes }, { code: 0, nodes: 0 }, `${words.join(' ')}: ${stderr}`)
    return stdout
  }
  /** What blobs are on their way in is not said: many at a time, they are told of as they come. */
  const comparable = ({ code, stdout, stderr }: Finished, repository: string): object => ({
    code,
    stdout: stdout.replaceAll(repository, 'REPOSITORY'),
    stderr: stderr
      .replaceAll(repository, 'REPOSITORY')
      .replaceAll(/[0-9A-F]{16}:error/g, 'THREAD:error') // of OpenSSL
      .split('\n')
      .toSorted(),
  })
  /** The tags, and the blobs, which are the same only where all went well: who fails stops what is under way at some point. */
  const stored = async (app: ServedApp, repository: string, { code }: Finished): Promise<object> => {
    const tags = await app.ask('GET', `/v2/${repository}/tags/list`)
    const ours = (await app.files()).filter(
      (path) => path.startsWith('links/') && path.endsWith(repository.replaceAll('/', '!')),
    )
    return {
      tags: tags.status === 200 ? (tags.json() as { tags: unknown }).tags : tags.status,
      blobs: code === 0 ? ours.map((path) => path.split('/').at(-2)).toSorted() : [],
    }
  }

  let count = 0
  /** The same words with two repositories that nobody has used: what came of each is the same. `nodes`: whether the launcher leaves it to Node. */
  async function same(
    words: (repository: string) => readonly string[],
    nodes: number,
    more: NodeJS.ProcessEnv = {},
  ): Promise<string> {
    const [nodes_, launchers] = [`by/node-${count}`, `by/launcher-${count++}`]
    const [expected, { nodes: became, ...actual }] = await Promise.all([
      byNode(words(nodes_), more),
      byLauncher(words(launchers), more),
    ])
    const typed = words('REPOSITORY').join(' ')
    assert.deepEqual(comparable(actual, launchers), comparable(expected, nodes_), typed)
    assert.deepEqual(await stored(to, launchers, actual), await stored(to, nodes_, expected), typed)
    assert.equal(became, nodes, `${typed}: ${became === 0 ? 'did it alone' : 'became Node'}`)
    return launchers
  }

  it('copies each kind of content as Node does, with and without a word about it', async () => {
    for (const content of await allContent()) {
      const nodes = NODES.includes(content.slug) ? 1 : 0
      const source = `${hostOf(from)}/kinds/${content.slug}`
      for (const flags of [[], ['--quiet']])
        await same((repository) => ['copy', ...flags, `${source}:v1`, `${hostOf(to)}/${repository}:v2`], nodes)
    }
    for (const { slug, root } of [await contentOf('image'), await contentOf('index')]) {
      const source = `${hostOf(from)}/kinds/${slug}`
      await same((repository) => ['copy', '-q', `${source}@${root.digest}`, `${hostOf(to)}/${repository}`], 0)
      await same((repository) => ['copy', `${source}:v1@${root.digest}`, `${hostOf(to)}/${repository}:v3`], 0)
    }
  })

  it('copies all that an image is, and says that all is there the second time', async () => {
    const content = await contentOf('image')
    const words = (repository: string): readonly string[] => [
      'copy',
      `${hostOf(from)}/kinds/image:v1`,
      `${hostOf(to)}/${repository}:v1`,
    ]
    const repository = await same(words, 0)
    await assertStored(to.url, repository, content)
    const { nodes, ...again } = await byLauncher(words(repository))
    assert.deepEqual(again, {
      code: 0,
      stdout: `${hostOf(to)}/${repository}:v1\n${content.root.digest}\n`,
      stderr: 'everything was there already\n',
    })
    assert.equal(nodes, 0)
  })

  it('sends only what is not there', async () => {
    const content = await contentOf('image')
    const half = { ...content, manifests: new Map(), blobs: new Map([...content.blobs].filter((_, i) => i % 2 === 0)) }
    for (const name of ['half/node', 'half/launcher']) await pushOver(to.url, name, half)
    const words = (name: string) => ['copy', `${hostOf(from)}/kinds/image:v1`, `${hostOf(to)}/half/${name}:v1`]
    const expected = await byNode(words('node'))
    const { nodes, ...actual } = await byLauncher(words('launcher'))
    assert.deepEqual(comparable(actual, 'half/launcher'), comparable(expected, 'half/node'))
    assert.match(actual.stderr, /^2 blobs sent \(.*\), 0 mounted, 2 already there$/m)
    assert.equal(nodes, 0)
    await assertStored(to.url, 'half/launcher', content)
  })

  it('mounts what a neighbour has, when it copies and when it pushes', async () => {
    const content = await contentOf('image')
    await pushOver(to.url, 'mounts/source', content)
    const source = `${hostOf(to)}/mounts/source:v1`
    await same((repository) => ['copy', source, `${hostOf(to)}/${repository}:v1`], 0)
    const copied = await byLauncher(['copy', source, `${hostOf(to)}/mounts/copied:v1`])
    assert.match(copied.stderr, /^0 blobs sent \(0B\), 4 mounted, 0 already there$/m)
    assert.equal((await byNode(['pull', '-q', source])).code, 0)
    await same((repository) => ['push', source, `${hostOf(to)}/${repository}:v1`], 0)
    const pushed = await byLauncher(['push', source, `${hostOf(to)}/mounts/pushed:v1`])
    assert.match(pushed.stderr, /^1 blobs sent \([0-9]+B\), 3 mounted, 0 already there$/m)
    await assertStored(to.url, 'mounts/pushed', content)
    assert.equal((await byNode(['rmi', source])).code, 0)
  })

  it('pushes what the store has as Node does, under its own name and another', async () => {
    for (const content of await allContent()) {
      const name = `${hostOf(from)}/kinds/${content.slug}:v1`
      if ((await byNode(['pull', '-q', name])).code !== 0) continue // it has nothing to unpack
      const nodes = NODES.includes(content.slug) ? 1 : 0
      for (const flags of [[], ['--quiet']]) {
        await same((repository) => ['push', ...flags, name, `${hostOf(to)}/${repository}`], nodes)
        await same((repository) => ['push', name, `${hostOf(to)}/${repository}:v9`, ...flags], nodes)
      }
      assert.equal((await byNode(['push', '-q', name])).code, 0)
      const own = await byNode(['push', name])
      const { nodes: became, ...actual } = await byLauncher(['push', name])
      assert.deepEqual({ ...actual, became }, { ...own, became: nodes })
      assert.equal((await byNode(['rmi', name])).code, 0)
    }
  })

  it('hashes what it pushes where nobody knows that the file is right, and never sends a wrong one', async () => {
    const name = `${hostOf(from)}/kinds/image:v1`
    assert.equal((await byNode(['pull', '-q', name])).code, 0)
    const { digest, bytes } = LARGEST
    const path = workspace.path('store', 'content/blobs', ...digest.split(':'))
    writeFileSync(path, bytes) // written to: the mark says nothing of it any more
    await same((repository) => ['push', name, `${hostOf(to)}/${repository}`], 0)
    const wrong = Buffer.from(bytes)
    wrong[wrong.length - 1] = (wrong.at(-1) ?? 0) ^ 1
    writeFileSync(path, wrong)
    const repository = await same((each) => ['push', '-q', name, `${hostOf(to)}/${each}`], 1)
    assert.equal((await to.ask('HEAD', `/v2/${repository}/blobs/${digest}`)).status, 404)
    writeFileSync(path, wrong.subarray(1))
    await same((each) => ['push', '-q', name, `${hostOf(to)}/${each}`], 1)
    await rm(path)
    await same((each) => ['push', '-q', name, `${hostOf(to)}/${each}`], 1)
    writeFileSync(path, bytes)
  })

  it('leaves to Node what it was not made for', async () => {
    const source = `${hostOf(from)}/kinds/index:v1`
    const port = hostOf(to).split(':')[1]
    const target = (repository: string): string => `${hostOf(to)}/${repository}:v1`
    const words: readonly ((repository: string) => readonly string[])[] = [
      (each) => ['copy', '--all', source, target(each)],
      (each) => ['copy', '--quiet', '--platform', 'linux/arm64', source, target(each)],
      (each) => ['copy', '--json', source, target(each)],
      (each) => ['copy', '--progress=json', source.replace('index', 'empty'), target(each)],
      (each) => ['copy', '--quiet', `docker://${source}`, target(each)],
      (each) => ['copy', '--quiet', '--', source, target(each)],
      (each) => ['copy', '--quiet', source, `app.localhost:${port}/${each}`],
      () => ['copy', '--quiet', source, `oci:${workspace.path(`layout-${count}`)}:v1`],
      () => ['copy', '--quiet', source],
      () => ['copy', '--quiet', source, source, source],
      () => ['copy', '--quiet', source, `${hostOf(to)}/Upper:v1`],
      () => ['copy', '--quiet', source.replace('v1', 'v2'), target('by/nobody')],
      () => ['push', '--quiet', 'localhost:5000/no/such:v1', target('by/nobody')],
      () => ['push', '--quiet', 'image'],
    ]
    for (const each of words) await same(each, 1)
  })

  it('leaves to Node what the user has said more about', async () => {
    const words = (repository: string): readonly string[] => [
      'copy',
      '-q',
      `${hostOf(from)}/kinds/image:v1`,
      `${hostOf(to)}/${repository}:v1`,
    ]
    const config = workspace.path('said')
    await mkdir(`${config}/gantry`, { recursive: true })
    await mkdir(`${config}-certs/docker/certs.d/${hostOf(to)}`, { recursive: true })
    writeFileSync(`${config}/gantry/client.yaml`, 'registries: {}\n')
    for (const more of [
      { http_proxy: 'http://127.0.0.1:1' },
      { HTTPS_PROXY: 'no address' },
      { GANTRY_CLIENT_CONFIG: `${config}/gantry/client.yaml` },
      { XDG_CONFIG_HOME: config },
      { XDG_CONFIG_HOME: `${config}-certs` },
    ])
      await same(words, 1, more)
    await same(words, 0, { XDG_CONFIG_HOME: workspace.path('nothing') })
  })

  it('finds localhost where it is', async () => {
    const [source, target] = [from, to].map((app) => hostOf(app).replace('127.0.0.1', 'localhost'))
    await same((repository) => ['copy', '-q', `${source}/kinds/image:v1`, `${target}/${repository}:v1`], 0)
  })

  /** What is altered, once or always, and of which requests. */
  interface Trick {
    readonly what: string
    readonly of: RegExp
    readonly alter: Alteration
    readonly times?: number
    /** The launcher does it all the same. */
    readonly isFine?: boolean
  }

  const raw = (text: string): Alteration => {
    return (request) => {
      request.socket.end(text)
      return true
    }
  }
  const status = (code: number, headers: Readonly<Record<string, string>> = {}): Alteration => {
    return (request, response) => {
      request.resume()
      response.writeHead(code, headers).end('{}')
      return true
    }
  }
  const answer = (change: (bytes: Buffer) => Buffer, more: (bytes: Buffer) => object = () => ({})): Alteration => {
    return async (_, response, real) => {
      const { status: code, headers, body } = await real()
      const bytes = change(body)
      response.writeHead(code, { ...headers, 'content-length': bytes.length, ...more(bytes) }).end(bytes)
      return true
    }
  }
  const flipped = (bytes: Buffer): Buffer => {
    const wrong = Buffer.from(bytes)
    wrong[wrong.length - 1] = (wrong.at(-1) ?? 0) ^ 1
    return wrong
  }
  const chunked: Alteration = async (_, response, real) => {
    const { status: code, headers, body } = await real()
    const { 'content-length': _length, ...others } = headers
    response.writeHead(code, others)
    response.write(body.subarray(0, 10))
    response.end(body.subarray(10))
    return true
  }
  const dropped: Alteration = (request) => {
    request.socket.destroy()
    return true
  }
  const cutShort: Alteration = async (request, response, real) => {
    const { status: code, headers, body } = await real()
    response.writeHead(code, headers)
    response.write(body.subarray(0, body.length / 2), () => request.socket.destroy())
    return true
  }
  const withHeader = (name: string, value: (said: string) => string): Alteration => {
    return async (_, response, real) => {
      const { status: code, headers, body } = await real()
      response.writeHead(code, { ...headers, [name]: value(String(headers[name] ?? '')) }).end(body)
      return true
    }
  }

  const MANIFEST = /^GET .*\/manifests\//
  const BLOB = new RegExp(`^GET .*/blobs/${LARGEST.digest}`)
  const BASIC = { 'www-authenticate': 'Basic realm="here"' }
  const ENDLESS = `HTTP/1.1 200 OK\r\n${'X-Filler: and so on\r\n'.repeat(4000)}`

  const OF_THE_SOURCE: readonly Trick[] = [
    { what: 'another manifest', of: MANIFEST, alter: answer((bytes) => Buffer.concat([bytes, Buffer.from(' ')])) },
    {
      what: 'a manifest of another digest',
      of: MANIFEST,
      alter: withHeader('docker-content-digest', () => digestOf(Buffer.from('other'))),
    },
    { what: 'a manifest in pieces', of: MANIFEST, alter: chunked },
    { what: 'a manifest of another type', of: MANIFEST, alter: withHeader('content-type', () => 'text/html') },
    {
      what: 'a manifest that is no JSON',
      of: MANIFEST,
      alter: async (_, response) =>
        !response.writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json' }).end('{').destroyed,
    },
    { what: 'a manifest that is cut off', of: MANIFEST, alter: cutShort },
    { what: 'no manifest', of: MANIFEST, alter: status(404) },
    { what: 'who are you', of: MANIFEST, alter: status(401, BASIC) },
    { what: 'a head without an end', of: MANIFEST, alter: raw(ENDLESS) },
    {
      what: 'two lengths',
      of: MANIFEST,
      alter: raw('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}'),
    },
    { what: 'a length below nothing', of: MANIFEST, alter: raw('HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}') },
    {
      what: 'a length beyond all numbers',
      of: MANIFEST,
      alter: raw('HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}'),
    },
    { what: 'too long a manifest', of: MANIFEST, alter: answer(() => Buffer.alloc(9 * MiB, ' ')) },
    { what: 'what is no HTTP', of: MANIFEST, alter: raw('SSH-2.0-OpenSSH_9.9\r\n\r\n') },
    { what: 'a server fault, once', of: MANIFEST, alter: status(500), times: 1 },
    { what: 'try again, once', of: BLOB, alter: status(429, { 'retry-after': '0' }), times: 1 },
    { what: 'other bytes', of: BLOB, alter: answer(flipped) },
    { what: 'a blob that is too short', of: BLOB, alter: answer((bytes) => bytes.subarray(1)) },
    { what: 'a blob that is too long', of: BLOB, alter: answer((bytes) => Buffer.concat([bytes, bytes])) },
    { what: 'a blob that is cut off once', of: BLOB, alter: cutShort, times: 1 },
    { what: 'a blob in pieces', of: BLOB, alter: chunked },
    {
      what: 'a blob that is elsewhere',
      of: BLOB,
      alter: (request, response) => !response.writeHead(307, { location: `${from.url}${request.url}` }).end().destroyed,
    },
    { what: 'who are you, for a blob', of: BLOB, alter: status(401, BASIC) },
    { what: 'nothing, once', of: BLOB, alter: dropped, times: 1 },
    { what: 'that it closes each connection', of: /./, alter: withHeader('connection', () => 'close'), isFine: true },
  ]

  const POST = /^POST /
  const PUT = /^PUT .*\/uploads\//
  const TAG = /^PUT .*\/manifests\//

  const OF_THE_TARGET: readonly Trick[] = [
    { what: 'who are you', of: /^HEAD /, alter: status(401, BASIC) },
    { what: 'no', of: /^HEAD .*blobs/, alter: status(403) },
    { what: 'no session', of: POST, alter: status(401, BASIC) },
    { what: 'a server fault, once', of: POST, alter: status(503), times: 1 },
    { what: 'a session without a place', of: POST, alter: status(202) },
    { what: 'a session elsewhere', of: POST, alter: withHeader('location', (said) => `${to.url}${said}`) },
    {
      what: 'a session at a place that is spelled oddly',
      of: POST,
      alter: withHeader('location', (said) => said.replace('/v2/', '/v2/none/../')),
    },
    { what: 'a session at no place', of: POST, alter: withHeader('location', () => 'http://[') },
    { what: 'that there is no such session, once', of: PUT, alter: status(404), times: 1 },
    {
      what: 'that it is done, in other words',
      of: PUT,
      alter: async (_, response, real) => !response.writeHead(204, (await real()).headers).end().destroyed,
    },
    {
      what: 'that the manifest is another',
      of: TAG,
      alter: withHeader('docker-content-digest', () => digestOf(Buffer.from('other'))),
    },
    { what: 'that the manifest is invalid', of: TAG, alter: status(400) },
    { what: 'that it closes each connection', of: /./, alter: withHeader('connection', () => 'close'), isFine: true },
  ]

  let tried = 0
  const tricked = (
    app: ServedApp,
    { of, alter, times = Number.POSITIVE_INFINITY }: Trick,
  ): Promise<ScriptedRegistry> => {
    let left = times
    return alteredRegistry(app, (request, response, real) => {
      if (!of.test(`${request.method} ${request.url}`) || left === 0) return false
      left--
      return alter(request, response, real)
    })
  }

  /** What the launcher and what Node alone make of it, each with a trick of its own, and what is at the target then. */
  async function fooled(
    trick: Trick,
    app: ServedApp,
    words: (host: string, repository: string) => readonly string[],
  ): Promise<void> {
    const name = `tricks/${tried++}`
    const before = await package_.nodes()
    const outcomes = [byNode, byLauncher].map(async (way) => {
      await using registry = await tricked(app, trick)
      const repository = `${name}-${way === byNode ? 'node' : 'launcher'}`
      const finished = await way(words(registry.host, repository))
      const plainly = (text: string): string => text.replaceAll(registry.host, 'HOST')
      const said = { code: finished.code, stdout: plainly(finished.stdout), stderr: plainly(finished.stderr) }
      return { ...comparable(said, repository), ...(await stored(to, repository, finished)) }
    })
    const [expected, actual] = await Promise.all(outcomes)
    assert.deepEqual(actual, expected, trick.what)
    assert.equal((await package_.nodes()) - before, trick.isFine ? 0 : 1, trick.what)
  }

  it('makes of a source that plays tricks what Node makes of it', async () => {
    for (const trick of OF_THE_SOURCE)
      await fooled(trick, from, (host, repository) => [
        'copy',
        '-q',
        `${host}/kinds/image:v1`,
        `${hostOf(to)}/${repository}:v1`,
      ])
  })

  it('keeps the last byte of what is wrong from a target that would take it', async () => {
    const whole: string[] = []
    await using careless = await alteredRegistry(to, async (request, response) => {
      if (!PUT.test(`${request.method} ${request.url}`)) return false
      const body = await buffer(request).catch(() => undefined) // it breaks off
      if (body !== undefined) whole.push(digestOf(body))
      response.writeHead(201, { 'content-length': 0 }).end()
      return true
    })
    const wrong = digestOf(flipped(LARGEST.bytes))
    await using liar = await tricked(from, { what: 'other bytes', of: BLOB, alter: answer(flipped) })
    const copied = await byLauncher(['copy', '-q', `${liar.host}/kinds/image:v1`, `${careless.host}/careless/copy:v1`])
    assert.deepEqual([copied.code, copied.nodes], [1, 1])
    assert.match(copied.stderr, new RegExp(`the content of ${LARGEST.digest} has the digest`))
    const name = `${hostOf(from)}/kinds/image:v1`
    assert.equal((await byNode(['pull', '-q', name])).code, 0)
    writeFileSync(workspace.path('store', 'content/blobs', ...LARGEST.digest.split(':')), flipped(LARGEST.bytes))
    const pushed = await byLauncher(['push', '-q', name, `${careless.host}/careless/push:v1`])
    assert.deepEqual([pushed.code, pushed.nodes], [1, 1])
    assert.ok(whole.length > 0 && !whole.includes(wrong), `${whole.join(' ')} were sent whole`)
    writeFileSync(workspace.path('store', 'content/blobs', ...LARGEST.digest.split(':')), LARGEST.bytes)
  })

  it('makes of a target that plays tricks what Node makes of it, when it copies and when it pushes', async () => {
    const name = `${hostOf(from)}/kinds/image:v1`
    assert.equal((await byNode(['pull', '-q', name])).code, 0)
    for (const trick of OF_THE_TARGET)
      for (const verb of ['copy', 'push'])
        await fooled(trick, to, (host, repository) => [verb, '-q', name, `${host}/${repository}:v1`])
  })

  describe('with a large image', () => {
    let content: Content
    let name: string
    let largest: string
    before(async () => {
      content = await imageOf('launcher-transfer', [24 * MiB, 12 * MiB, 3000])
      await pushOver(from.url, 'large/app', content)
      name = `${hostOf(from)}/large/app:v1`
      largest = largestOf(content).digest
      assert.equal((await byNode(['pull', '-q', name])).code, 0)
    })

    const started = (words: readonly string[]) =>
      startGroup(package_.launcher, words, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    const journal = (): readonly string[] => {
      const folder = workspace.path('.local/state/gantry/uploads')
      return existsSync(folder) ? readdirSync(folder).map((each) => readFileSync(`${folder}/${each}`, 'utf8')) : []
    }

    for (const verb of ['copy', 'push']) {
      it(`is killed at seeded points while it does a ${verb}, and goes on until the image is there and whole`, async () => {
        const target = `${hostOf(to)}/killed/${verb}:v1`
        for (let i = 0; i < 8; i++) {
          const child = started([verb, '-q', name, target])
          const ended = closed(child)
          await delay(2 + (noise(`kill ${verb} ${i}`, 1).readUInt8() % 120))
          killGroup(child, 'SIGKILL')
          await ended
        }
        assert.equal((await byLauncher([verb, '-q', name, target])).stdout, `${content.root.digest}\n`)
        await assertStored(to.url, `killed/${verb}`, content)
      })

      it(`ends a ${verb} when it is interrupted as Node does, which goes on with it`, async () => {
        for (const signal of ['SIGINT', 'SIGTERM'] as const) {
          const before = await package_.nodes()
          let interrupt: (() => void) | undefined
          await using registry = await alteredRegistry(to, async (request) => {
            const isLarge = Number(request.headers['content-length']) > 20 * MiB
            if (request.method !== 'PUT' || !isLarge || interrupt === undefined) return false
            request.once('data', interrupt)
            await once(request, 'close')
            return true
          })
          const repository = `interrupted/${verb}-${signal.toLowerCase()}`
          const isOfIt = (text: string): boolean =>
            text.startsWith(`http://${registry.host}/v2/${repository}/`) && text.includes(`@${largest}\n`)
          const words = [verb, '-q', name, `${registry.host}/${repository}:v1`]
          const child = started(words)
          interrupt = () => child.kill(signal)
          let said = ''
          child.stderr?.setEncoding('utf8').on('data', (text: string) => {
            said += text
          })
          assert.equal(await closed(child), 1)
          assert.equal(said, 'gantry: interrupted; what has arrived there is not sent again\n')
          assert.equal(await package_.nodes(), before)
          assert.ok(journal().some(isOfIt), 'no session was kept')
          interrupt = undefined
          const { code, nodes } = await byLauncher(words)
          assert.deepEqual({ code, nodes }, { code: 0, nodes: 1 })
          assert.deepEqual(journal().filter(isOfIt), [])
          await assertStored(to.url, repository, content)
        }
      })
    }

    it('keeps what it pushes from whoever would sweep the store', async () => {
      let swept: Finished | undefined
      await using registry = await alteredRegistry(to, async ({ method }) => {
        if (method === 'PUT') swept ??= await byNode(['image', 'prune'])
        return false
      })
      await alone('push', '-q', name, `${registry.host}/swept/app:v1`)
      assert.equal(swept?.code, 1)
      assert.match(swept.stderr, /the store is in use/)
    })

    it('waits, as Node, for who sweeps the store', async () => {
      const locks = await LockFile.open(workspace.path('store/lock'))
      await using held = await locks.lock('store', 'exclusive')
      const before = await package_.nodes()
      const pushed = byLauncher(['push', '-q', name, `${hostOf(to)}/waited/app:v1`])
      await until('Node', PATIENCE_MS, async () => ((await package_.nodes()) > before ? true : undefined))
      await held.release()
      assert.equal((await pushed).code, 0)
    })

    it('says nothing where nobody reads, and what Node says where nothing can be written', async () => {
      const target = `${hostOf(to)}/full/app:v1`
      const full = openSync('/dev/full', 'w')
      const words = ['copy', '-q', name, target]
      const outcomes = [[process.execPath, [COMMAND, ...words]] as const, [package_.launcher, words] as const].map(
        async ([program, args]) => {
          const child = startGroup(program, args, { env, stdio: ['ignore', full, 'pipe'] })
          let said = ''
          child.stderr?.setEncoding('utf8').on('data', (text: string) => {
            said += text
          })
          return [await closed(child), said]
        },
      )
      assert.deepEqual(await outcomes[1], await outcomes[0])
      const unread = startGroup('sh', ['-c', '"$0" "$@" | true', package_.launcher, ...words], { env, stdio: 'ignore' })
      assert.equal(await closed(unread), 0)
    })

    it('moves images out of and into a registry of another make', {
      skip: distribution ? false : 'not installed: docker-registry',
    }, async () => {
      await using other = await startDistribution(distribution ?? '', workspace.path('distribution'))
      const there = `${other.host}/large/app:v1`
      await alone('copy', '-q', name, there)
      await assertStored(`http://${other.host}`, 'large/app', content)
      await alone('copy', '-q', there, `${other.host}/large/mounted:v1`)
      await assertStored(`http://${other.host}`, 'large/mounted', content)
      await alone('push', '-q', name, `${other.host}/large/pushed:v1`)
      await assertStored(`http://${other.host}`, 'large/pushed', content)
      await alone('copy', '-q', there, `${hostOf(to)}/large/back:v1`)
      await assertStored(to.url, 'large/back', content)
    })
  })
})
