import assert from 'node:assert/strict'
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { runGantry, serveGantry } from './testing/gantry-process.ts'

let directory: string
let data: string
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gantry-accounts-'))
  data = join(directory, 'data')
})
after(() => rm(directory, { recursive: true, force: true }))

const gantry = (line: string, input?: string) => runGantry(line.split(' '), { GANTRY_DATA: data }, input)

async function done(line: string, input?: string): Promise<string> {
  const { code, stdout, stderr } = await gantry(line, input)
  assert.equal(code, 0, stderr)
  return stdout.trim()
}

describe('the verbs for accounts', () => {
  it('make a registry with accounts out of one without, which other machines may then reach', async () => {
    const open = await runGantry(['serve', '--listen', '0.0.0.0:0'], { GANTRY_DATA: data })
    assert.equal(open.code, 1)
    assert.match(open.stderr, /has no accounts.*`gantry user add NAME`.*--allow-anonymous/)

    await done('user add alice --password-stdin --group dev', 'correct horse\n')
    await using served = await serveGantry({ data, listen: '0.0.0.0:0' })
    const url = served.url.replace('0.0.0.0', '127.0.0.1')
    assert.equal((await fetch(`${url}/v2/`)).status, 401)
    const login = { Authorization: `Basic ${btoa('alice:correct horse')}` }
    const answer = (await (await fetch(`${url}/token`, { headers: login })).json()) as { token: string }
    assert.equal((await fetch(`${url}/v2/`, { headers: { Authorization: `Bearer ${answer.token}` } })).status, 200)

    assert.match(await done('user list'), /^alice {2}enabled {2}groups dev {2}(never used|last used \S+Z)$/)
    await done('user disable alice')
    const deadline = Date.now() + 10_000
    while ((await fetch(`${url}/v2/`, { headers: { Authorization: `Bearer ${answer.token}` } })).status !== 401) {
      assert.ok(Date.now() < deadline, 'a disabled user is out while the registry runs')
    }
    await done('user enable alice')
    assert.match(await done('user list'), /^alice {2}enabled/)
    assert.equal(await done('user groups alice ops dev'), 'alice is in ops, dev')
    assert.match(await done('user list'), /^alice {2}enabled {2}groups ops,dev/)
    assert.equal(await done('user groups alice'), 'alice is in no group')
    assert.equal((await gantry('user groups alice ../x')).code, 1)
    await done('user groups alice dev')
  })

  it('show the secret of a robot once, take a new one beside the old one, and keep neither', async () => {
    const secret = await done('robot create ci --repo team/* --repo x --actions pull,push --expires 90d')
    assert.match(secret, /^gantry_[\w-]{43}$/)
    const rotated = await done('robot rotate ci --overlap 1h')
    assert.notEqual(rotated, secret)
    assert.match(
      await done('robot list'),
      /^robot\+ci {2}enabled {2}pull,push in team\/\* {2}pull,push in x {2}never used$/,
    )
    const record = await readFile(join(data, 'accounts', '!ci'), 'utf8')
    assert.ok(!record.includes(secret) && !record.includes(rotated))

    await using served = await serveGantry({ data })
    const status = async (given: string): Promise<number> =>
      (await fetch(`${served.url}/token`, { headers: { Authorization: `Basic ${btoa(`robot+ci:${given}`)}` } })).status
    assert.deepEqual([await status(secret), await status(rotated), await status('gantry_x')], [200, 200, 401])
  })

  it('rotate keys without logging anybody out, and revoke one', async () => {
    await using served = await serveGantry({ data })
    const login = { Authorization: `Basic ${btoa('alice:correct horse')}` }
    const { token } = (await (await fetch(`${served.url}/token`, { headers: login })).json()) as { token: string }
    const kid = await done('keys rotate')
    const status = async (): Promise<number> =>
      (await fetch(`${served.url}/v2/`, { headers: { Authorization: `Bearer ${token}` } })).status
    assert.equal(await status(), 200)
    assert.match(await done(`keys revoke ${kid}`), /is revoked/)
    assert.match(await done('keys list'), new RegExp(`^${kid}  ES256  signs from \\S+  revoked \\S+$`, 'm'))
    assert.equal(await status(), 200)
  })

  it('take a key that was made elsewhere, and say what they expect of one', async () => {
    const file = join(directory, 'key.pem')
    const write = (key: KeyObject): Promise<void> => writeFile(file, key.export({ type: 'pkcs8', format: 'pem' }))
    await write(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey)
    const imported = await done(`keys rotate --import ${file}`)
    const made = await done('keys rotate --algorithm RS256')
    const listed = await done('keys list')
    for (const kid of [imported, made]) assert.match(listed, new RegExp(`^${kid} {2}RS256 {2}signs from`, 'm'))
    await write(generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey)
    const curve = await gantry(`keys rotate --import ${file}`)
    assert.equal(curve.code, 1)
    assert.match(
      curve.stderr,
      /cannot sign with \S+key\.pem: found a key of the type ec \(secp384r1\), expected one on P-256/,
    )
    await writeFile(file, 'no key')
    assert.match(
      (await gantry(`keys rotate --import ${file}`)).stderr,
      /it is no private key in PEM without passphrase/,
    )
    for (const kid of [imported, made]) await done(`keys revoke ${kid}`)
  })

  it('tell machines what they tell people, and no hash of a secret', async () => {
    const rows = async (line: string): Promise<Record<string, unknown>[]> =>
      (await done(`${line} --json`)).split('\n').map((row) => JSON.parse(row) as Record<string, unknown>)
    const [alice] = await rows('user list')
    assert.deepEqual([alice?.['login'], alice?.['enabled'], alice?.['groups']], ['alice', true, ['dev']])
    const [ci] = await rows('robot list')
    const grants = ['team/*', 'x'].map((repositories) => ({ repositories, actions: ['pull', 'push'] }))
    assert.deepEqual([ci?.['login'], ci?.['grants']], ['robot+ci', grants])
    assert.equal((ci?.['secrets'] as object[] | undefined)?.length, 2)
    assert.doesNotMatch(JSON.stringify([alice, ci]), /argon2|sha256/)
    assert.ok(
      (await rows('keys list')).every(
        ({ kid, algorithm }) => typeof kid === 'string' && /^[ER]S256$/.test(String(algorithm)),
      ),
    )
    const explained = async (line: string): Promise<unknown[]> => {
      const [{ allowed, by, rule, missing } = {}] = await rows(`policy explain ${line}`)
      return [allowed, by, rule, missing]
    }
    assert.deepEqual(await explained('alice push team/a'), [true, 'rule', 1, undefined])
    assert.deepEqual(await explained('robot+ci delete team/a'), [false, 'nothing', undefined, undefined])
    const [allowed, by, , missing] = await explained('nobody push team/a')
    assert.deepEqual([allowed, by], [false, 'rule'])
    assert.match(String(missing), /there is no user nobody/)
  })

  it('explain the policy', async () => {
    const file = join(directory, 'gantry.yaml')
    await writeFile(file, "policy: { rules: [{ who: 'group:dev', repositories: 'team/*', actions: [pull] }] }\n")
    const explain = (line: string): Promise<string> => done(`policy explain ${line} --config ${file}`)
    assert.equal(
      await explain('alice pull team/a'),
      'user:alice may pull in team/a: rule 1 decides: allow pull in team/* to group:dev',
    )
    await writeFile(
      file,
      "policy: { rules: [{ who: 'cert:ci-*', claims: { organization: a }, repositories: 'team/*', actions: [pull] }] }\n",
    )
    assert.match(
      await explain('cert:ci-1 pull team/a --claim organization=a'),
      /^cert:ci-1 may pull in team\/a: rule 1/,
    )
    assert.match(await explain('cert:ci-1 pull team/a --claim organization=b'), /^cert:ci-1 may not pull/)
    assert.match(await explain('anonymous pull team/a'), /^anonymous may not pull in team\/a: no rule is about this/)
    assert.match(
      await explain('anonymous pull team/a'),
      /is refused; rule 1 allows it to cert:ci-\* with organization=a$/,
    )
    await done('user disable alice')
    assert.match(
      await explain('alice pull team/a'),
      /\nbut alice is disabled, and may do nothing until `gantry user enable alice`$/,
    )
    await done('user enable alice')
    assert.match(await explain('robot+ci push team/a'), /^robot:ci may push in team\/a: .* made with this right$/)
    assert.match(
      await explain('robot+none push a'),
      /\nbut there is no robot none: `gantry robot create none` makes one$/,
    )
    await writeFile(join(directory, 'users'), `bob:$2y$04$${'a'.repeat(53)}\n`)
    await writeFile(file, `accounts: { htpasswd: ${join(directory, 'users')} }\n`)
    assert.match(await explain('carol pull team/a'), /\nbut there is no user carol: `gantry user add carol` makes one$/)
    assert.match(
      await explain('bob pull team/a'),
      /^user:bob may pull in team\/a: rule 1 decides: .* to user:\*, cert:\*$/,
    )
  })

  it('say what is wrong', async () => {
    for (const [line, input, message, exit] of [
      ['user add alice --password-stdin', 'correct horse', /^gantry user add: there is a user alice already$/m, 1],
      ['user add bob --password-stdin', 'short', /the password has 5 characters, expected 8 at least/, 1],
      ['user add bob', '', /this is no terminal: give the password with --password-stdin/, 1],
      ['user passwd nobody --password-stdin', 'correct horse', /there is no user nobody/, 1],
      ['user add ../x --password-stdin', 'correct horse', /is not the name of an account: expected at most 64/, 1],
      ['robot create x --repo A --actions pull', '', /expected a pattern such as 'team/, 2],
      ['robot create x --repo team/ --actions pull', '', /expected a pattern such as 'team/, 2],
      ['robot create x --repo a --actions fly', '', /expected some of pull, push, delete/, 2],
      ['policy explain alice fly team/a', '', /'fly' is invalid for argument 'action'. expected one of pull, push/, 2],
      ['robot create x --repo a --actions pull --expires soon', '', /expected a period such as/, 2],
    ] as const) {
      const { code, stderr } = await gantry(line, input)
      assert.match(stderr, message)
      assert.equal(code, exit, line)
    }
  })

  it('keep signing keys encrypted under a secret, without which the registry does not start', async () => {
    const own = join(directory, 'encrypted')
    const env = { GANTRY_DATA: own, GANTRY_TOKENS_SECRET: 'x'.repeat(40) }
    await runGantry(['user', 'add', 'alice', '--password-stdin'], env, 'correct horse')
    await runGantry(['keys', 'rotate'], env)
    const without = await runGantry(['serve', '--listen', '127.0.0.1:0'], { GANTRY_DATA: own })
    assert.deepEqual([without.code, /tokens\.secret is missing/.test(without.stderr)], [1, true])
    const wrong = { GANTRY_DATA: own, GANTRY_TOKENS_SECRET: 'y'.repeat(40) }
    assert.match(
      (await runGantry(['serve', '--listen', '127.0.0.1:0'], wrong)).stderr,
      /another secret than tokens\.secret/,
    )
    await using served = await serveGantry({ data: own, env })
    assert.equal((await fetch(`${served.url}/.well-known/jwks.json`)).status, 200)
  })
})
