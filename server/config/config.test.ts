import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import fc from 'fast-check'
import { parse } from 'yaml'
import { parseRepositoryName } from '../../storage/model/reference.ts'
import { ADDRESS_FORM } from '../address.ts'
import { keysOf } from './key.ts'
import { policyFor } from './policies.ts'
import { printEffective, printReference } from './print.ts'
import { ConfigInvalid, type Effective, readConfig, type Sources } from './read.ts'
import { CONFIG } from './schema.ts'

let directory: string
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gantry-config-'))
})
after(() => rm(directory, { recursive: true, force: true }))

let files = 0
async function fileOf(yaml: string): Promise<string> {
  const path = join(directory, `${++files}.yaml`)
  await writeFile(path, yaml)
  return path
}

/** The problems, without the folder. */
async function problems(sources: Sources): Promise<string[]> {
  try {
    await readConfig(sources)
  } catch (error) {
    if (error instanceof ConfigInvalid) return error.message.replaceAll(`${directory}/`, '').split('\n')
    throw error
  }
  return assert.fail('nothing was found wrong')
}

const originOf = ({ values }: Effective, path: string): string | undefined =>
  values.find(({ key }) => key.path.join('.') === path)?.origin

describe('readConfig', () => {
  it('wants a bucket when content is kept in one, and one worker where writes are not conditional', async () => {
    assert.deepEqual(await problems({ env: { GANTRY_STORAGE: 's3' } }), [
      'GANTRY_STORAGE: s3 needs the name of a bucket in s3.bucket (GANTRY_S3_BUCKET)',
    ])
    const env = { GANTRY_STORAGE: 's3', GANTRY_S3_BUCKET: 'images', GANTRY_S3_SINGLE_REPLICA: 'true' }
    assert.deepEqual(await problems({ env: { ...env, GANTRY_WORKERS: '2' } }), [
      'GANTRY_WORKERS: found "2", expected 1 with s3.singleReplica',
    ])
    const { config } = await readConfig({ env: { ...env, GANTRY_S3_ENDPOINT: 'http://127.0.0.1:9000' } })
    assert.deepEqual([config.storage, config.s3.bucket, config.s3.endpoint], ['s3', 'images', 'http://127.0.0.1:9000'])
  })

  it('serves this machine over ./gantry-data when told nothing', async () => {
    const { config } = await readConfig({})
    assert.deepEqual(config, {
      listen: [{ host: '127.0.0.1', port: 5000 }],
      allowAnonymous: false,
      data: './gantry-data',
      storage: 'filesystem',
      s3: {
        bucket: '',
        endpoint: '',
        region: 'us-east-1',
        prefix: '',
        addressing: 'auto',
        certificateAuthorities: '',
        encryption: 'none',
        encryptionKey: '',
        redirect: 'never',
        publicEndpoint: '',
        partSize: 8 * 1024 * 1024,
        parallelParts: 4,
        memory: 256 * 1024 * 1024,
        timeout: 30_000,
        singleReplica: false,
      },
      workers: 1,
      verification: { every: 'auto', rate: 32 * 1024 * 1024 },
      readonly: false,
      references: { '*': 'sparse-index' },
      warnings: [],
      accessLog: 'stderr',
      auditLog: 'off',
      accounts: { htpasswd: 'off', basic: 'off' },
      oidc: [],
      policy: { rules: [], immutableTags: [], groups: {} },
      tokens: { service: 'gantry', lifetime: 300_000, refreshLifetime: 7_776_000_000, secret: 'off' },
      tls: {
        certificate: 'off',
        key: 'off',
        selfSigned: false,
        clientAuthorities: 'off',
        minimum: '1.2',
        redirect: 'off',
      },
      publicUrl: 'auto',
      proxies: [],
      metrics: { listen: 'auto' },
      timeouts: { headers: 60_000, idle: 120_000, keepAlive: 75_000 },
      stop: { delay: 0, timeout: 10_000 },
      limits: { connections: 'auto', manifest: 5 * 1024 * 1024 },
      rateLimit: { requests: 'off', burst: 'auto' },
    })
  })

  it('lets flags win over the environment, that over the file, and that over defaults', async () => {
    const file = await fileOf('data: /file\nworkers: 3\nreadonly: true\n')
    const effective = await readConfig({
      file,
      env: { GANTRY_DATA: '/env', GANTRY_WORKERS: '4' },
      flags: { data: '/flag' },
    })
    const { data, workers, readonly, accessLog } = effective.config
    assert.deepEqual([data, workers, readonly, accessLog], ['/flag', 4, true, 'stderr'])
    const origins = ['data', 'workers', 'readonly', 'accessLog'].map((path) => originOf(effective, path))
    assert.deepEqual(origins, ['--data', 'GANTRY_WORKERS', `${file}:3`, 'default'])
  })

  it('finds its file by GANTRY_CONFIG too, and takes an empty variable for none', async () => {
    const file = await fileOf('# nothing set\n')
    assert.equal((await readConfig({ env: { GANTRY_CONFIG: file, GANTRY_DATA: '' } })).config.data, './gantry-data')
    assert.match(
      (await problems({ env: { GANTRY_CONFIG: '/none.yaml' } })).join(),
      /^GANTRY_CONFIG: cannot read \/none.yaml: /,
    )
    assert.match((await problems({ file: '/none.yaml' })).join(), /^--config: cannot read \/none.yaml: /)
  })

  it('takes each key in the form of the file and in that of a variable', async () => {
    const file = await fileOf(`
listen: ['[::1]:5000', unix:/run/gantry.sock]
warnings: [one, 'two, with a comma']
timeouts: { headers: 90, idle: 1500ms, keepAlive: 1h }
limits: { manifest: 4194304, connections: 12 }
rateLimit: { requests: 0.5, burst: 7 }
metrics: { listen: off }
references: { mirror: sparse, mirror/own: strict }
`)
    const env = {
      GANTRY_LISTEN: '[::1]:5000,unix:/run/gantry.sock',
      GANTRY_WARNINGS: 'one\ntwo, with a comma',
      GANTRY_TIMEOUTS_HEADERS: '90s',
      GANTRY_TIMEOUTS_IDLE: '1500ms',
      GANTRY_TIMEOUTS_KEEP_ALIVE: '60m',
      GANTRY_LIMITS_MANIFEST: '4MiB',
      GANTRY_LIMITS_CONNECTIONS: '12',
      GANTRY_RATE_LIMIT_REQUESTS: '0.5',
      GANTRY_RATE_LIMIT_BURST: '7',
      GANTRY_METRICS_LISTEN: 'off',
    }
    const fromFile = (await readConfig({ file })).config
    const { references: _, ...fromEnv } = (await readConfig({ env })).config
    assert.deepEqual({ ...fromEnv, references: { mirror: 'sparse', 'mirror/own': 'strict' } }, fromFile)
    assert.deepEqual((await readConfig({ env: { GANTRY_REFERENCES: 'strict' } })).config.references, { '*': 'strict' })
  })

  it('names every problem at once: where, what was found, what would be right', async () => {
    const file = await fileOf(`listen:
  - 5000
  - unix:relative
lisen: 4
readonly: perhaps
references:
  a/b: strict
  "*": odd
  A: sparse
timeouts: 5
stop:
limits:
  manifest: 1MiB
  conections: 4
wholly: unknown
`)
    const env = { GANTRY_RATE_LIMIT_REQUESTS: '-1' }
    const found = await problems({ file, env, flags: { data: '', 'stop-timeout': 'soon' } })
    const name = `${files}.yaml`
    for (const problem of [
      `${name}:2: listen[0]: found 5000, expected HOST:PORT such as`,
      `${name}:3: listen[1]: found "unix:relative", expected HOST:PORT such as`,
      `${name}:4: lisen: unknown key; did you mean listen?`,
      `${name}:5: readonly: found "perhaps", expected true or false`,
      `${name}:8: references.*: found "odd", expected strict, sparse-index or sparse`,
      `${name}:9: references.A: found "A", expected strict, sparse-index or sparse; or a map`,
      `${name}:10: timeouts: found 5, expected a map with keys among headers, idle, keepAlive`,
      `${name}:13: limits.manifest: found "1MiB", expected a size from 4MiB`,
      `${name}:14: limits.conections: unknown key; did you mean limits.connections?`,
      `${name}:15: wholly: unknown key; \`gantry config docs\` lists all`,
      'GANTRY_RATE_LIMIT_REQUESTS: found "-1", expected off, or a number above 0',
      '--data: found "", expected the path of a folder',
      '--stop-timeout: found "soon", expected a duration',
    ]) {
      assert.ok(
        found.some((line) => line.startsWith(problem)),
        `${problem}\nis not among\n${found.join('\n')}`,
      )
    }
    assert.equal(found.length, 13)
  })

  it('refuses a variable that is almost one of its own, and lets others be', async () => {
    assert.deepEqual(
      await problems({ env: { GANTRY_LISTN: 'x', GANTRY_PORT: 'tcp://10.0.0.1:5000', GANTRY_ROOT: '/x' } }),
      ['GANTRY_LISTN: unknown variable; did you mean GANTRY_LISTEN?'],
    )
  })

  it('says on which line a file is no YAML, or has a key twice', async () => {
    assert.match((await problems({ file: await fileOf('data: /a\nlisten: [') })).join(), /^\d+\.yaml:2: /)
    assert.match(
      (await problems({ file: await fileOf('data: /a\ndata: /b\n') })).join(),
      /^\d+\.yaml:\d: Map keys must be unique/,
    )
    assert.match((await problems({ file: await fileOf('- a\n') })).join(), /the file: found \["a"\], expected a map/)
  })

  it('takes who may do what in the forms that people write, and says what is wrong with it', async () => {
    const file = await fileOf(`
policy:
  rules:
    - { who: 'group:dev', repositories: 'team/*', actions: [pull, push] }
    - { who: [everyone], repositories: ['public/*'], actions: pull, effect: deny }
  immutableTags: [{ repositories: 'prod/*', tags: ['v*'] }]
  groups: { dev: [alice] }
proxies: [10.0.0.0/8, '::1', unix]
`)
    const { policy, proxies } = (await readConfig({ file })).config
    const claims = {}
    assert.deepEqual(policy, {
      rules: [
        { who: ['group:dev'], claims, repositories: ['team/*'], actions: ['pull', 'push'], effect: 'allow' },
        { who: ['everyone'], claims, repositories: ['public/*'], actions: ['pull'], effect: 'deny' },
      ],
      immutableTags: [{ repositories: ['prod/*'], tags: ['v*'] }],
      groups: { dev: ['alice'] },
    })
    assert.deepEqual(proxies, ['10.0.0.0/8', '::1', 'unix'])
    const env = { GANTRY_POLICY_RULES: JSON.stringify(policy.rules), GANTRY_PROXIES: '10.0.0.0/8 ::1,unix' }
    const fromEnv = (await readConfig({ env })).config
    assert.deepEqual([fromEnv.policy.rules, fromEnv.proxies], [policy.rules, proxies])

    const wrong = await fileOf(`
policy:
  rules:
    - { who: alice, repositories: '*', actions: [pull] }
    - { who: 'user:alice', repositories: 'team/../*', actions: [fly] }
proxies: [10.0.0.0/33]
tokens: { secret: short }
`)
    const found = await problems({ file: wrong })
    for (const problem of [
      /:4: policy\.rules\[0\]\.who\[0\]: found "alice", expected a list of rules such as/,
      /:5: policy\.rules\[1\]\.actions\[0\]: found "fly"/,
      /:5: policy\.rules\[1\]\.repositories\[0\]: found "team\/\.\.\/\*"/,
      /:6: proxies\[0\]: found "10\.0\.0\.0\/33", expected addresses, networks/,
      /:7: tokens\.secret: found something else, expected off, or at least 32 characters/,
    ]) {
      assert.ok(
        found.some((line) => problem.test(line)),
        `${problem} is not among\n${found.join('\n')}`,
      )
    }
  })

  it('refuses Basic alone together with rights for those without account', async () => {
    const rules = JSON.stringify([{ who: 'anonymous', repositories: '*', actions: 'pull' }])
    const env = { GANTRY_ACCOUNTS_BASIC: 'only', GANTRY_POLICY_RULES: rules }
    assert.match((await problems({ env })).join(), /^GANTRY_ACCOUNTS_BASIC: found only, but policy.rules/)
    await readConfig({ env: { ...env, GANTRY_ACCOUNTS_BASIC: 'also' } })
  })

  it('keeps all warnings together below what one answer may carry', async () => {
    const text = 'a'.repeat(1_000)
    await readConfig({ file: await fileOf(`warnings: [${[text, text, text].join()}]`) })
    assert.match(
      (await problems({ file: await fileOf(`warnings: [${[text, text, text, text, text].join()}]`) })).join(),
      /less than 4096 bytes/,
    )
  })

  it('never takes a strange value, and never fails in another way', async () => {
    const keys = keysOf(CONFIG)
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...keys), fc.string(), async ({ variable }, value) => {
        try {
          await readConfig({ env: { [variable]: value } })
        } catch (error) {
          assert.ok(error instanceof ConfigInvalid)
        }
      }),
    )
  })

  it('refuses any content of a file with a place, or takes it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        try {
          await readConfig({ file: await fileOf(JSON.stringify(value)) })
        } catch (error) {
          assert.ok(error instanceof ConfigInvalid)
          for (const line of error.message.split('\n')) assert.match(line, /\.yaml(:\d+)?: /)
        }
      }),
    )
  })
})

describe('policyFor', () => {
  it('takes the longest prefix, which ends where a component ends', () => {
    const policy = policyFor({ '*': 'strict', mirror: 'sparse', 'mirror/own': 'sparse-index' })
    const names = ['mirror', 'mirror/a/b', 'mirror/own', 'mirror/own/x', 'mirror/owner', 'mirrors', 'other']
    assert.deepEqual(
      names.map((name) => policy(parseRepositoryName(name))),
      ['sparse', 'sparse', 'sparse-index', 'sparse-index', 'sparse', 'strict', 'strict'],
    )
    assert.equal(policyFor({ mirror: 'sparse' })(parseRepositoryName('other')), 'sparse-index')
  })
})

describe('what is said about TLS', () => {
  const refusals = async (env: Record<string, string>): Promise<string> =>
    await readConfig({ env }).then(
      () => 'taken',
      (error: Error) => error.message,
    )

  it('needs a certificate, from one place', async () => {
    const certificate = { GANTRY_TLS_CERTIFICATE: 'c.pem' }
    const selfSigned = { GANTRY_TLS_SELF_SIGNED: 'true' }
    assert.equal(
      await refusals({ ...certificate, GANTRY_TLS_KEY: 'k.pem', GANTRY_TLS_REDIRECT: ':80' }),
      `GANTRY_TLS_REDIRECT: found ":80", expected off, or ${ADDRESS_FORM}`,
    )
    for (const taken of [certificate, selfSigned, { ...selfSigned, GANTRY_TLS_REDIRECT: '0.0.0.0:80' }]) {
      assert.equal(await refusals({ ...taken, GANTRY_TLS_MINIMUM: '1.3' }), 'taken')
    }
    assert.equal(
      await refusals({ ...certificate, ...selfSigned }),
      'GANTRY_TLS_SELF_SIGNED: found "true", expected nothing beside tls.certificate',
    )
    assert.equal(
      await refusals({ GANTRY_TLS_KEY: 'k', GANTRY_TLS_CLIENT_AUTHORITIES: 'a', GANTRY_TLS_REDIRECT: '127.0.0.1:80' }),
      [
        'GANTRY_TLS_KEY: found "k", expected tls.certificate beside it',
        'GANTRY_TLS_CLIENT_AUTHORITIES: found "a", expected tls.certificate or tls.selfSigned beside it',
        'GANTRY_TLS_REDIRECT: found "127.0.0.1:80", expected tls.certificate or tls.selfSigned beside it',
      ].join('\n'),
    )
    assert.equal(await refusals({ GANTRY_TLS_MINIMUM: '1.1' }), 'GANTRY_TLS_MINIMUM: found "1.1", expected 1.2 or 1.3')
  })

  it('reads a version as YAML has it', async () => {
    const { config } = await readConfig({ file: await fileOf('tls: { minimum: 1.3 }') })
    assert.equal(config.tls.minimum, '1.3')
  })
})

describe('printEffective', () => {
  it('prints YAML that reads back as the same configuration, with origins beside the values', async () => {
    const file = await fileOf('listen: [127.0.0.1:1, unix:/x]\nreferences: { a/b: strict }\n')
    const effective = await readConfig({ file, env: { GANTRY_WARNINGS: 'a\nb' }, flags: { readonly: true } })
    const printed = printEffective(effective.values)
    assert.match(printed, /^listen: \[.*\] # \S+\.yaml:1$/m)
    assert.match(printed, /^readonly: true # --readonly$/m)
    assert.deepEqual((await readConfig({ file: await fileOf(printed) })).config, effective.config)
  })

  it('never prints a secret', () => {
    const key = {
      path: ['storage', 'password'],
      variable: 'X',
      doc: '',
      expected: '',
      initial: '',
      secret: true,
    } as const
    const printed = printEffective([{ key, raw: 'hunter2', origin: 'GANTRY_STORAGE_PASSWORD' }])
    assert.doesNotMatch(printed, /hunter2/)
    assert.deepEqual(parse(printed), { storage: { password: null } })
  })
})

describe('the reference of all keys', () => {
  it('is what README.md has', async () => {
    const readme = await readFile(join(import.meta.dirname, '../../README.md'), 'utf8')
    assert.ok(
      readme.includes(printReference(keysOf(CONFIG))),
      'replace the table in README.md by what `gantry config docs` prints',
    )
  })
})
