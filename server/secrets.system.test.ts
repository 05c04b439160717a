/**
 * Every kind of secret goes through a running registry, in the right place and in wrong ones, with success, with failure and through a
 * crash; then everything that it wrote or said is searched for each of them. CVE-2025-48374 (zot wrote an issuer's secret to its log).
 */
import assert from 'node:assert/strict'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { hashSync } from 'bcryptjs'
import jwt from 'jsonwebtoken'
import { type GantryProcess, runGantry, serveGantry } from './testing/gantry-process.ts'
import { exchange } from './testing/raw-http.ts'

/** Told apart in a failure by its name. */
const made = (name: string): string => `${name}-${randomBytes(12).toString('hex')}`
const secrets = new Map<string, string>()
const keep = (name: string, value: string): string => {
  secrets.set(name, value)
  return value
}
const PASSWORD = keep('a password', made('password'))
const WRONG = keep('a wrong password', made('wrong'))
const FILED = keep('a password of the htpasswd file', made('filed'))
const MISPLACED = keep('a password typed as a name', made('misplaced'))
const QUERIED = keep('a password in a query', made('queried'))
const TOKENS_SECRET = keep('tokens.secret', made('tokens-secret'))
const S3_SECRET = keep('the secret key of the bucket', made('s3-secret'))
const S3_SESSION = keep('the session token of the bucket', made('s3-session'))

let directory: string
let env: Record<string, string>
let said = ''
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gantry-secrets-'))
})
after(() => rm(directory, { recursive: true, force: true, maxRetries: 5 }))

const basic = (login: string, secret: string): string =>
  `Basic ${keep(`Basic of ${login}`, Buffer.from(`${login}:${secret}`).toString('base64'))}`

/** Whatever the answer is, it becomes part of what was said. */
async function ask(url: string, init: RequestInit = {}): Promise<{ status: number; body: string }> {
  const answer = await fetch(url, { redirect: 'manual', ...init })
  const body = await answer.text()
  const isToken = answer.ok && url.includes('/token')
  said += `${[...answer.headers].join('\n')}\n${isToken ? '' : body}\n`
  return { status: answer.status, body }
}

const as = (authorization: string, more: RequestInit = {}): RequestInit => ({
  ...more,
  headers: { Authorization: authorization },
})

async function tokenOf(url: string, init: RequestInit, name: string): Promise<{ access: string; refresh: string }> {
  const { status, body } = await ask(url, init)
  assert.equal(status, 200, body)
  const { token, refresh_token = '' } = JSON.parse(body) as { token: string; refresh_token?: string }
  keep(`an access token of ${name}`, token)
  if (refresh_token !== '') keep(`a refresh token of ${name}`, refresh_token)
  return { access: token, refresh: refresh_token }
}

async function anIssuer(): Promise<{ url: string; sign(audience: string): string; close(): void }> {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const server = createServer((req, res) => {
    const url = `http://${req.headers.host}`
    const keys = [{ ...publicKey.export({ format: 'jwk' }), kid: 'k' }]
    res.end(JSON.stringify(req.url === '/keys' ? { keys } : { issuer: url, jwks_uri: `${url}/keys` }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url,
    sign: (audience) => {
      const options = { algorithm: 'ES256', keyid: 'k', issuer: url, audience, expiresIn: 60 } as const
      return keep(`a token of the issuer for ${audience}`, jwt.sign({ sub: 'job' }, privateKey, options))
    },
    close: () => server.close(),
  }
}

async function use({ url }: GantryProcess, robot: string, issuer: Awaited<ReturnType<typeof anIssuer>>): Promise<void> {
  const { access, refresh } = await tokenOf(
    `${url}/token?offline_token=true&scope=repository:a:pull,push&password=${QUERIED}`,
    as(basic('alice', PASSWORD)),
    'alice',
  )
  await tokenOf(`${url}/token`, as(basic('erin', FILED)), 'a user of the file')
  const byRobot = await tokenOf(`${url}/token?scope=repository:a:pull`, as(basic('robot+ci', robot)), 'a robot')
  const job = issuer.sign('registry')
  await tokenOf(`${url}/token`, as(basic('ci', job)), 'a job')
  const form = (fields: Record<string, string>): RequestInit => ({ method: 'POST', body: new URLSearchParams(fields) })
  await tokenOf(`${url}/token`, form({ grant_type: 'refresh_token', refresh_token: refresh }), 'a refreshed alice')

  assert.equal((await ask(`${url}/v2/`, as(`Bearer ${job}`))).status, 200)
  assert.equal((await ask(`${url}/v2/?token=${access}&password=${QUERIED}`, as(`Bearer ${access}`))).status, 200)
  assert.equal((await ask(`${url}/v2/a/blobs/uploads/`, as(`Bearer ${access}`, { method: 'POST' }))).status, 202)
  for (const [path, init, status] of [
    ['/token', as(basic('alice', WRONG)), 401],
    ['/token', as(basic(MISPLACED, MISPLACED)), 401],
    [`/token?password=${QUERIED}&service=other`, as(basic('alice', PASSWORD)), 400],
    ['/token', form({ grant_type: 'password', username: 'alice', password: WRONG }), 401],
    ['/token', form({ grant_type: 'refresh_token', refresh_token: access }), 401],
    ['/token', as(`Bearer ${refresh}`), 401],
    ['/v2/', as(`Bearer ${refresh}`), 401],
    ['/v2/', as(`Bearer ${robot}`), 401],
    ['/v2/', as(`Bearer ${issuer.sign('elsewhere')}`), 401],
    ['/v2/', as(basic('alice', PASSWORD)), 401],
    ['/v2/', as(`Digest ${PASSWORD}`), 401],
    ['/v2/', as(`Basic ${PASSWORD}`), 401],
    ['/v2/b/tags/list', as(`Bearer ${byRobot.access}`), 403],
    [`/v2/a/tags/list?n=x&token=${QUERIED}`, as(`Bearer ${access}`), 400],
  ] as const) {
    assert.equal((await ask(`${url}${path}`, init)).status, status, path)
  }
  const bearer = `Authorization: Bearer ${access}\r\n`
  for (const request of [
    `GET http://alice:${PASSWORD}@a/v2/ HTTP/1.1\r\nHost: a\r\n${bearer}Connection: close\r\n\r\n`,
    `GET /v2/ HTTP/1.1\r\nHost: a\r\n${bearer}Not a header\r\n\r\n`,
    `GET /v2/ HTTP/1.1\r\nHost: a\r\n${bearer}X: ${'x'.repeat(40_000)}\r\n\r\n`,
  ]) {
    said += await exchange(url, request)
  }
}

/** Another worker has its place then, and its connections are known to be gone. */
async function killed(served: GantryProcess, worker: number): Promise<void> {
  process.kill(worker, 'SIGKILL')
  const deadline = Date.now() + 20_000
  for (;;) {
    const workers = await served.workers()
    if (workers.length === 2 && !workers.includes(worker)) return
    assert.ok(Date.now() < deadline, 'a worker that dies is replaced')
    await delay(20)
  }
}

/** Its blobs are where a file is: whatever asks for one fails as nothing was meant to. */
async function breakIt({ url, data }: GantryProcess): Promise<void> {
  const { access } = await tokenOf(
    `${url}/token?scope=repository:a:push,pull`,
    as(basic('alice', PASSWORD)),
    'late alice',
  )
  for (let tries = 0; ; tries++) {
    await rename(join(data, 'sessions'), join(data, `away.${tries}`))
    try {
      await writeFile(join(data, 'sessions'), 'no folder')
      break
    } catch (error) {
      if (tries === 9) throw error // a worker that begins has just made it again
    }
  }
  const init = as(`Bearer ${access}`, { method: 'POST' })
  assert.ok((await ask(`${url}/v2/a/blobs/uploads/?token=${QUERIED}`, init)).status >= 500)
}

async function everythingWritten(): Promise<string> {
  const texts: string[] = []
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) texts.push(`${entry.name}\n${await readFile(join(entry.parentPath, entry.name), 'latin1')}`)
  }
  return texts.join('\n')
}

function assertUntold(text: string, where: string): void {
  for (const [name, secret] of secrets) assert.ok(!text.includes(secret), `${name} is in ${where}`)
}

describe('secrets', () => {
  it('are in no log, answer, metric, listing, argument or file of a registry that uses them all', async () => {
    const issuer = await anIssuer()
    try {
      const data = join(directory, 'data')
      const config = join(directory, 'gantry.yaml')
      const htpasswd = join(directory, 'htpasswd')
      await writeFile(htpasswd, `erin:${hashSync(FILED, 4)}\nbroken line\n`)
      await writeFile(
        config,
        `policy: { rules: [{ who: authenticated, repositories: a, actions: [pull, push] }] }
oidc: [{ name: ci, issuer: '${issuer.url}', audience: registry }]
accounts: { htpasswd: ${htpasswd} }
`,
      )
      env = {
        GANTRY_DATA: data,
        GANTRY_CONFIG: config,
        GANTRY_TOKENS_SECRET: TOKENS_SECRET,
        GANTRY_ACCESS_LOG: join(directory, 'access.log'),
        GANTRY_AUDIT_LOG: join(directory, 'audit.log'),
        AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
        AWS_SECRET_ACCESS_KEY: S3_SECRET,
        AWS_SESSION_TOKEN: S3_SESSION,
      }
      const outputs: string[] = []
      const gantry = async (line: string, input?: string): Promise<string> => {
        const { stdout, stderr } = await runGantry(line.split(' '), env, input)
        outputs.push(stderr)
        return stdout
      }
      outputs.push(await gantry('user add alice --password-stdin', `${PASSWORD}\n`))
      outputs.push(await gantry('user add alice --password-stdin', `${PASSWORD}\n`))
      const robot = keep('the secret of a robot', (await gantry('robot create ci --repo a --actions pull')).trim())
      const rotated = keep('its new one', (await gantry('robot rotate ci --overlap 1h')).trim())
      assert.match(rotated, /^gantry_/)

      await using served = await serveGantry({ env, args: ['--workers', '2'], data })
      let stdio = served.ready
      served.child.stdout?.on('data', (text: string) => {
        stdio += text
      })
      await use(served, robot, issuer)
      const metrics = await (await fetch(`${served.metricsUrl}/metrics`)).text()
      const workers = await served.workers()
      const [one] = workers
      const lines = await Promise.all(
        [served.child.pid, ...workers].map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
      )
      await killed(served, one ?? assert.fail('it has workers'))
      await breakIt(served)
      served.child.kill('SIGTERM')
      await served.exit
      for (const verb of [
        'config show',
        'config check',
        'user list',
        'robot list',
        'keys list',
        'policy explain alice pull a',
      ]) {
        outputs.push(await gantry(verb))
      }

      const logged = JSON.stringify(served.logged())
      assert.match(logged, /request failed/)
      assert.match(logged, /broken line|expected NAME:HASH/)
      assert.match(metrics, /gantry_/)
      assert.ok(secrets.size > 20)
      assertUntold(stdio + logged, 'standard output or the log')
      assertUntold(said, 'an answer')
      assertUntold(metrics, 'the metrics')
      assertUntold(lines.join('\n'), 'the arguments of a process')
      assertUntold(outputs.join('\n'), 'what a command prints')
      const written = await everythingWritten()
      assert.match(written, /"event":"login"/)
      assert.match(written, /"method":"POST","path":"\/v2\/a\/blobs\/uploads\/"/)
      assertUntold(written, 'a log or a file')
      assert.doesNotMatch(written, /PRIVATE KEY/)
    } finally {
      issuer.close()
    }
  })

  it('of a bucket are in nothing that is said about it, whatever its server answers', async () => {
    const server = createServer((req, res) => {
      const echo = JSON.stringify(req.headers)
      res.writeHead(403, { 'Content-Type': 'application/xml' })
      res.end(`<Error><Code>SignatureDoesNotMatch</Code><Message>${echo}</Message></Error>`)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    try {
      const bucket = {
        ...env,
        GANTRY_STORAGE: 's3',
        GANTRY_S3_BUCKET: 'images',
        GANTRY_S3_ENDPOINT: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      }
      for (const line of ['storage probe', 'serve --listen 127.0.0.1:0', 'user list']) {
        const { code, stdout, stderr } = await runGantry(line.split(' '), bucket)
        assert.equal(code, 1, line)
        assertUntold(stdout + stderr, line)
      }
      const { stdout } = await runGantry(['config', 'show'], bucket)
      assert.match(stdout, /bucket: images/)
      assertUntold(stdout, 'config show')
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })
})
