/** Clients fetch large layers from the bucket itself, where the registry sends them: real ones, with the registry's tokens, which the bucket never sees. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { createServer, type IncomingHttpHeaders, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { imageOf, writeLayout } from './interop/content.ts'
import { succeed } from './support/commands.ts'
import { type Dockerd, startDockerd } from './support/dockerd.ts'
import { LAUNCHER, type ServedRegistry, startGantry } from './support/gantry-serve.ts'
import { goTool, notBuilt } from './support/go-tools.ts'
import { missing } from './support/needs.ts'
import { type S3Server, s3Kinds, startS3 } from './support/s3-server.ts'
import { Workspace } from './support/workspace.ts'

const MIB = 2 ** 20
const CONFIG = "policy: { rules: [{ who: everyone, repositories: '*', actions: [pull, push] }] }\n"
const LAYERS = [3 * MIB, 2 * MIB]

const noCrane = await notBuilt('crane')
const noSkopeo = await missing('skopeo')
const noDocker = await missing('docker', 'dockerd', 'containerd', 'runc')

for (const { kind, skip } of await s3Kinds()) {
  describe(`redirects to ${kind}`, { skip: skip || noCrane }, () => {
    const cleanup = new AsyncDisposableStack()
    let workspace: Workspace
    let registry: ServedRegistry
    let sameHost: ServedRegistry
    let front: Front
    let digest: string
    let layers: readonly string[]
    before(async () => {
      workspace = await Workspace.open()
      const server: S3Server = cleanup.use(await startS3(kind, workspace.env))
      front = cleanup.use(await startFront(server.endpoint))
      const config = workspace.path('gantry.yaml')
      await writeFile(config, CONFIG)
      const start = async (publicHost: string): Promise<ServedRegistry> =>
        cleanup.use(
          await startGantry({
            env: {
              ...workspace.env,
              ...server.env('store'),
              GANTRY_CONFIG: config,
              GANTRY_TOKENS_SECRET: 'a secret of more than 32 characters',
              GANTRY_S3_REDIRECT: 'auto',
              GANTRY_S3_PUBLIC_ENDPOINT: `http://${publicHost}:${front.port}`,
            },
          }),
        )
      registry = await start('localhost')
      sameHost = await start('127.0.0.1')
      const content = await imageOf(`redirected ${kind}`, LAYERS)
      await writeLayout(workspace.path('layout'), content, 'v1')
      await succeed(goTool('crane'), ['push', workspace.path('layout'), `${registry.host}/a:v1`], {
        env: workspace.env,
      })
      digest = content.root.digest
      layers = [...content.blobs.keys()].filter((each) => (content.blobs.get(each)?.length ?? 0) > MIB)
      assert.equal(layers.length, LAYERS.length)
    })
    after(async () => {
      await cleanup.disposeAsync()
      const left = await workspace.leftovers()
      await workspace[Symbol.asyncDispose]()
      assert.deepEqual(left, [])
    })
    /** What the client fetched from the bucket while `pull` ran: each layer, and without the token that it has for the registry. */
    const redirected = async (pull: () => Promise<unknown>): Promise<void> => {
      front.seen.length = 0
      await pull()
      assert.ok(front.seen.length >= layers.length, `${front.seen.length} requests came`)
      for (const { method, headers } of front.seen) {
        assert.equal(method, 'GET')
        assert.equal(headers.authorization, undefined)
        assert.equal(headers.cookie, undefined)
      }
    }
    const quietly = async (program: string, args: readonly string[]): Promise<string> =>
      await succeed(program, args, { env: workspace.env })

    it('crane', async () => {
      const pulled = workspace.path('crane')
      await redirected(() => quietly(goTool('crane'), ['pull', '--format=oci', `${registry.host}/a:v1`, pulled]))
      await redirected(() => quietly(goTool('crane'), ['validate', '--remote', `${registry.host}/a:v1`]))
    })

    it('skopeo', { skip: noSkopeo }, async () => {
      const to = `dir:${workspace.path('skopeo')}`
      await redirected(() =>
        quietly('skopeo', ['copy', '--src-tls-verify=false', `docker://${registry.host}/a:v1`, to]),
      )
    })

    it('docker', { skip: noDocker }, async () => {
      await using dockerd: Dockerd = await startDockerd(workspace)
      await redirected(async () => {
        assert.match(await dockerd.docker(['pull', `${registry.host}/a:v1`]), new RegExp(`Digest: ${digest}`))
      })
    })

    it('gantry pull', async () => {
      await redirected(() => quietly(process.execPath, [LAUNCHER, 'pull', `${registry.host}/a:v1`]))
    })

    it('are not for who would send the token along, nor for who may not have the blob, nor for what is small', async () => {
      front.seen.length = 0
      await quietly(goTool('crane'), ['validate', '--remote', `${sameHost.host}/a:v1`])
      assert.deepEqual(front.seen, [], 'a bucket of the same name at another port would be sent the token')

      const [layer = ''] = layers
      const anonymous = await ask(`${registry.url}/v2/a/blobs/${layer}`)
      assert.deepEqual([anonymous.status, anonymous.headers.location], [401, undefined])
      const token = await tokenOf(registry, 'a')
      const elsewhere = await ask(`${registry.url}/v2/b/blobs/${layer}`, await tokenOf(registry, 'b'))
      assert.equal(elsewhere.status, 404)
      const large = await ask(`${registry.url}/v2/a/blobs/${layer}`, token)
      assert.deepEqual([large.status, large.headers['docker-content-digest']], [307, layer])
      const ranged = await ask(large.headers.location ?? '', undefined, 'GET', { Range: 'bytes=5-14' })
      assert.deepEqual([ranged.status, ranged.body.length], [206, 10])
      const manifest = await ask(`${registry.url}/v2/a/manifests/v1`, token)
      const { config } = JSON.parse(manifest.body) as { config: { digest: string } }
      assert.equal((await ask(`${registry.url}/v2/a/blobs/${config.digest}`, token)).status, 200)
      const head = await ask(`${registry.url}/v2/a/blobs/${layer}`, token, 'HEAD')
      assert.equal(head.status, 200, 'HEAD is answered by the registry')
      const tampered = (large.headers.location ?? '').replace(/store\/data/, 'store/links')
      assert.notEqual((await ask(tampered)).status, 200, 'the signature is for this object alone')
    })
  })
}

interface Front extends AsyncDisposable {
  readonly port: number
  readonly seen: { readonly method: string; readonly headers: IncomingHttpHeaders }[]
}

/** The bucket as clients reach it, with a look at what they send. */
async function startFront(endpoint: string): Promise<Front> {
  const seen: Front['seen'] = []
  const { hostname, port } = new URL(endpoint)
  const server = createServer((req, res) => {
    seen.push({ method: req.method ?? '', headers: req.headers })
    const onward = request({ hostname, port, method: req.method, path: req.url, headers: req.headers }, (answer) => {
      res.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(res)
    })
    onward.on('error', () => res.destroy())
    req.pipe(onward)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

async function tokenOf({ url }: ServedRegistry, name: string): Promise<string> {
  const { headers } = await ask(`${url}/v2/${name}/tags/list`)
  const [, realm = '', rest = ''] = /realm="([^"]+)",(.*)$/.exec(String(headers['www-authenticate'])) ?? []
  const query = new URLSearchParams()
  for (const [, key = '', value = ''] of rest.matchAll(/(\w+)="([^"]*)"/g)) query.set(key, value)
  return (JSON.parse((await ask(`${realm}?${query}`)).body) as { token: string }).token
}

async function ask(
  url: string,
  token?: string,
  method = 'GET',
  others: Readonly<Record<string, string>> = {},
): Promise<{ readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: string }> {
  const headers = { ...others, ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }) }
  return await new Promise((resolve, reject) => {
    const req = request(url, { method, headers, agent: false }, (res) => {
      let body = ''
      res.setEncoding('latin1').on('data', (chunk: string) => {
        body += chunk
      })
      res.on('end', () => resolve({ status: res.statusCode ?? 0, headers: res.headers, body }))
    })
    req.on('error', reject).end()
  })
}
