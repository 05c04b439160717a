/** A configuration file to begin with: every key with the reference's words, those that the purpose needs set, the others commented out. */
import { stringify } from 'yaml'
import type { ConfigKey } from './key.ts'

export const TEMPLATES = ['disk', 's3', 'accounts'] as const
export type Template = (typeof TEMPLATES)[number]

interface Purpose {
  /** For the top of the file: what it is for, and the next steps. */
  readonly about: readonly string[]
  /** Values by key, as `s3.bucket`. */
  readonly set: Readonly<Record<string, unknown>>
}

const WIDTH = 118

const PURPOSES: Readonly<Record<Template, Purpose>> = {
  disk: {
    about: [
      'A registry on this disk, for this machine alone.',
      'To listen beyond it, make an account first (`gantry user add NAME`, or begin with `gantry init accounts`), or set allowAnonymous.',
    ],
    set: { listen: ['127.0.0.1:5000'], data: './gantry-data' },
  },
  s3: {
    about: [
      'Replicas over one bucket: the same file for each, behind any load balancer. Put in your bucket and its server, then ask',
      '`gantry storage probe` whether it can be used. Credentials come from where the AWS tools find them, not from this file.',
      'With accounts every replica needs the same secret for its signing keys: keep it in the variable GANTRY_TOKENS_SECRET.',
    ],
    set: {
      listen: ['127.0.0.1:5000'],
      storage: 's3',
      's3.bucket': 'registry',
      's3.endpoint': 'https://s3.example.com:9000',
      's3.region': 'us-east-1',
      workers: 'auto',
    },
  },
  accounts: {
    about: [
      'A registry for teams: alice and her team push to team-a/, everybody pulls public/. Make the users with',
      '`gantry user add alice --group team-a`, a pipeline with `gantry robot create ci --repo team-a/app --actions pull,push`.',
      'Or let the jobs of a CI system push without any secret: name its issuer below, as in',
      "`oidc: [{ name: github, issuer: 'https://token.actions.githubusercontent.com', audience: registry.example }]`, and add the rule",
      "`{ who: 'oidc:github', claims: { repository: acme/app }, repositories: team-a/app, actions: [pull, push] }`.",
      'Nothing secret is in this file: passwords and keys are kept, hashed or with safe permissions, in the data.',
      '`gantry policy explain alice push team-a/app` says who may do what, and why.',
    ],
    set: {
      listen: ['127.0.0.1:5000'],
      data: './gantry-data',
      auditLog: 'stderr',
      'policy.rules': [
        { who: 'everyone', repositories: 'public/*', actions: 'pull' },
        { who: 'group:team-a', repositories: ['team-a/*', 'public/*'], actions: ['pull', 'push'] },
      ],
      'policy.immutableTags': [{ repositories: 'team-a/*', tags: 'v*' }],
    },
  },
}

/** YAML that `gantry serve --config` takes. `file` is named in the words at the top. Holds no secret, ever. */
export function printTemplate(template: Template, keys: readonly ConfigKey[], file: string): string {
  const { about, set } = PURPOSES[template]
  const lines = [
    ...about.flatMap((line) => wrapped(line, '# ')),
    '#',
    `#   $ gantry config check --config ${file}`,
    `#   $ gantry serve --config ${file}`,
    '#',
    '# What is commented out shows the default. A variable, named beside each key, wins over this file.',
  ]
  const isSet = ({ path }: ConfigKey): boolean => Object.hasOwn(set, path.join('.'))
  let section = ''
  for (const key of keys) {
    const [first = '', ...rest] = key.path
    const above = rest.length > 0 ? first : ''
    if (above !== section && above !== '') {
      const isUsed = keys.some((each) => each.path[0] === above && each.path.length > 1 && isSet(each))
      lines.push('', `${isUsed ? '' : '# '}${above}:`)
    }
    section = above
    const indent = '  '.repeat(key.path.length - 1)
    const name = key.path.at(-1) ?? ''
    lines.push('', ...wrapped(`${key.doc} (${key.variable})`, `${indent}# `))
    if (isSet(key)) lines.push(...yamlOf(name, set[key.path.join('.')]).map((line) => indent + line))
    else if (key.secret) lines.push(`${indent}# ${name}: a secret: better kept in ${key.variable} than here`)
    else lines.push(...yamlOf(name, key.initial).map((line) => `${indent}# ${line}`))
  }
  return `${lines.join('\n')}\n`
}

const yamlOf = (name: string, value: unknown): string[] =>
  stringify({ [name]: value }, { lineWidth: 0 })
    .trimEnd()
    .split('\n')

function wrapped(text: string, prefix: string): string[] {
  const lines: string[] = []
  let line = prefix.trimEnd()
  for (const word of text.split(' ')) {
    if (line.length + 1 + word.length > WIDTH) {
      lines.push(line)
      line = prefix.trimEnd()
    }
    line += ` ${word}`
  }
  return [...lines, line]
}
