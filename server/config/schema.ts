/**
 * Every key of the configuration, once: its type, its default, what it is for, and what is right when something else was found.
 * The file's form, the variables, the flags, `gantry config docs` and README.md's reference all come from here.
 */
import { z } from 'zod'
import { ADDRESS_FORM } from '../address.ts'
import { groups, immutableTags, issuers, proxies, rules, secretOr, urlOr } from './access-values.ts'
import { key } from './key.ts'
import {
  addresses,
  addressOr,
  count,
  countOr,
  duration,
  durationOr,
  flag,
  policies,
  rateOr,
  size,
  text,
  warnings,
} from './values.ts'

const MIB = 2 ** 20
const DAY_MS = 24 * 60 * 60 * 1000

const RULE_FORM =
  "a list of rules such as { who: 'group:team-a', repositories: 'team-a/*', actions: [pull, push] }, each perhaps with effect: deny or claims; who is user:NAME, group:NAME, robot:NAME, oidc:NAME, cert:NAME, authenticated, anonymous or everyone"

export const CONFIG = z.strictObject({
  listen: key(addresses(), {
    doc: 'Addresses to serve the registry on: TCP or unix sockets, one or several.',
    expected: ADDRESS_FORM,
    initial: '127.0.0.1:5000',
    flag: ['listen', 'address'],
    repeatable: true,
  }),
  allowAnonymous: key(flag(), {
    doc: 'Listen beyond this machine although there are no accounts, and everyone there may push and delete.',
    expected: 'true or false',
    initial: false,
    flag: ['allow-anonymous'],
  }),
  data: key(text(/^[^\0]+$/), {
    doc: 'Folder to keep everything in; made if missing, relative to where the command runs.',
    expected: 'the path of a folder',
    initial: './gantry-data',
    flag: ['data', 'dir'],
  }),
  storage: key(z.enum(['filesystem', 's3']), {
    doc: 'Where content is kept: `filesystem` (the folder `data`) or `s3` (the bucket `s3.bucket`, which any number of replicas may share; credentials come from where the AWS tools find them, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY).',
    expected: 'filesystem or s3',
    initial: 'filesystem',
    flag: ['storage', 'kind'],
  }),
  s3: z.strictObject({
    bucket: key(text(/^$|^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/), {
      doc: 'Name of the bucket; it must be there.',
      expected: 'the name of a bucket',
      initial: '',
    }),
    endpoint: key(text(/^$|^https?:\/\/[^/?#]+\/?$/), {
      doc: 'URL of the S3 server; empty for AWS.',
      expected: 'a URL such as https://s3.example.com:9000',
      initial: '',
    }),
    region: key(text(/^[a-z0-9-]+$/), {
      doc: 'Region that requests are signed for.',
      expected: 'a region such as eu-central-1',
      initial: 'us-east-1',
    }),
    prefix: key(text(/^$|^[A-Za-z0-9._-]+(?:\/[A-Za-z0-9._-]+)*\/?$/), {
      doc: 'Put before the name of every object, as a folder, so that several registries can share a bucket.',
      expected: 'names of letters, digits, `.`, `_` and `-`, separated by /',
      initial: '',
    }),
    addressing: key(z.enum(['auto', 'path', 'virtual-host']), {
      doc: 'Whether the bucket’s name is in the path or in the host name; `auto` is the path when there is an endpoint.',
      expected: 'auto, path or virtual-host',
      initial: 'auto',
    }),
    certificateAuthorities: key(text(/^[^\0]*$/), {
      doc: 'File with the certificates (PEM) of the only authorities to trust; empty for those that Node knows.',
      expected: 'the path of a file',
      initial: '',
    }),
    encryption: key(z.enum(['none', 'AES256', 'aws:kms', 'aws:kms:dsse']), {
      doc: 'Server-side encryption to ask for; `none` leaves it to the bucket.',
      expected: 'none, AES256, aws:kms or aws:kms:dsse',
      initial: 'none',
    }),
    encryptionKey: key(text(/^[\x21-\x7e]*$/), {
      doc: 'Id of the KMS key; empty for the account’s own.',
      expected: 'the id or ARN of a key',
      initial: '',
    }),
    redirect: key(z.enum(['never', 'auto', 'always']), {
      doc: 'Whether clients fetch large blobs from the bucket itself, by a URL that is signed for 20 minutes: it takes the load off the registry where clients can reach the bucket, and nobody but them verifies what is sent. `auto`: from 1 MiB on, and not from HTTPS to plain HTTP. Not even with `always`: to a host that clients would send their credentials on to (the registry’s own name, or one below it), or what is kept in its record or in several objects.',
      expected: 'never, auto or always',
      initial: 'never',
    }),
    publicEndpoint: key(text(/^$|^https?:\/\/[^/?#]+\/?$/), {
      doc: 'URL of the S3 server as clients reach it, for `s3.redirect`; empty where it is `s3.endpoint`.',
      expected: 'a URL such as https://s3.example.com:9000',
      initial: '',
    }),
    partSize: key(size(5 * MIB, 512 * MIB), {
      doc: 'Size of the parts that large blobs are sent in; rounded down to whole MiB.',
      expected: 'a size from 5MiB (the least that S3 takes) to 512MiB',
      initial: '8MiB',
    }),
    parallelParts: key(count(1, 64), {
      doc: 'Parts of one upload that are sent at the same time.',
      expected: 'a number from 1 to 64',
      initial: 4,
    }),
    memory: key(size(16 * MIB, 64 * 1024 * MIB), {
      doc: 'Memory for the parts of all uploads together, divided between the workers; uploads wait when it is used up. A worker needs about 250 MiB beside its share with a hundred uploads at once.',
      expected: 'a size from 16MiB to 64GiB',
      initial: '256MiB',
    }),
    timeout: key(duration(1_000, DAY_MS), {
      doc: 'How long the S3 server may be silent; then the request is made again.',
      expected: 'a duration from 1s to 24h, such as 90, 90s or 2m',
      initial: '30s',
    }),
    singleReplica: key(flag(), {
      doc: 'Promise that one process alone uses the bucket: what a bucket without conditional writes needs. `gantry storage probe` tells.',
      expected: 'true or false',
      initial: false,
    }),
  }),
  workers: key(countOr('auto', 1, 256), {
    doc: 'Processes that serve the same addresses over the same folder; `auto` is one per processor.',
    expected: 'auto, or a number from 1 to 256',
    initial: 1,
    flag: ['workers', 'number'],
  }),
  verification: z.strictObject({
    every: key(durationOr(['auto', 'off'], 60 * 60_000, 366 * DAY_MS), {
      doc: 'Pause between two passes in the background that read everything that is stored, from where it lies, and set aside what is damaged; one process of all does it. `auto` is 720h on a disk, and off in a bucket, whose server looks after its disks itself and may charge for each read. `gantry storage verify` does it at once.',
      expected: 'auto, off, or a duration from 1h to 8784h',
      initial: 'auto',
    }),
    rate: key(size(64 * 1024, 1024 * 1024 * MIB), {
      doc: 'Bytes a second that a process may read in the background to verify them.',
      expected: 'a size from 64KiB to 1024GiB, such as 32MiB',
      initial: '32MiB',
    }),
  }),
  readonly: key(flag(), {
    doc: 'Refuse everything that would change what is stored.',
    expected: 'true or false',
    initial: false,
    flag: ['readonly'],
  }),
  references: key(policies(), {
    doc: 'What must be there when a manifest is pushed: `strict` (all), `sparse-index` (an index may list manifests that are not there), `sparse` (nothing). One word for all, or a map from repository prefixes to words, where the longest prefix wins and `*` is every repository.',
    expected:
      'strict, sparse-index or sparse; or a map from repository prefixes (such as mirror/docker, or *) to these',
    initial: 'sparse-index',
    flag: ['references', 'policy'],
  }),
  warnings: key(warnings(), {
    doc: 'Texts that clients show to their users, sent as `Warning` headers; one a line in the variable.',
    expected: 'texts of printable ASCII, all together less than 4096 bytes',
    initial: [],
  }),
  accessLog: key(text(/^(?:off|stderr|stdout|.*\/.+)$/), {
    doc: 'Where one line of JSON for each request goes: `off`, `stderr`, `stdout`, or a file, which is opened anew on SIGHUP.',
    expected: 'off, stderr, stdout, or the path of a file with a / in it',
    initial: 'stderr',
  }),
  auditLog: key(text(/^(?:off|stderr|stdout|.*\/.+)$/), {
    doc: 'Where one line of JSON for each login, refusal, write and delete goes: who, from where, what, with what result. Destinations as of `accessLog`.',
    expected: 'off, stderr, stdout, or the path of a file with a / in it',
    initial: 'off',
  }),
  accounts: z.strictObject({
    htpasswd: key(text(/^(?:off|.*\/.+)$/), {
      doc: 'A file as `htpasswd -B` makes it: users besides those of `gantry user`. It is read again when it changes.',
      expected: 'off, or the path of a file with a / in it',
      initial: 'off',
    }),
    basic: key(z.enum(['off', 'also', 'only']), {
      doc: 'Whether requests may carry a name and a password instead of a token: `off`, `also`, or `only`, which leaves tokens out and therefore those without account.',
      expected: 'off, also or only',
      initial: 'off',
    }),
  }),
  oidc: key(issuers(), {
    doc: 'Issuers whose tokens prove who a CI job or a workload is, without a stored secret: `oidc:NAME` in rules, which can ask for `claims`. Their keys are looked up at the issuer, or at `keys`.',
    expected:
      'a list such as [{ name: github, issuer: https://token.actions.githubusercontent.com, audience: registry.example }], each perhaps with keys: URL; plain http only to this machine',
    initial: [],
  }),
  policy: z.strictObject({
    rules: key(rules(), {
      doc: 'Who may do what where; the first rule that is about all three decides, and what none allows is refused. With accounts and no rules, users may do everything but administer.',
      expected: RULE_FORM,
      initial: [],
    }),
    immutableTags: key(immutableTags(), {
      doc: 'Tags that neither move nor go once they are there.',
      expected: "a list such as [{ repositories: 'prod/*', tags: 'v*' }]",
      initial: [],
    }),
    groups: key(groups(), {
      doc: 'Names of users by group, besides the groups that `gantry user add --group` gave them.',
      expected: 'a map from groups to lists of users, such as { team-a: [alice, bob] }',
      initial: {},
    }),
  }),
  tokens: z.strictObject({
    service: key(text(/^[A-Za-z0-9._:-]{1,128}$/), {
      doc: 'What this registry is called in tokens; a token for another one is refused.',
      expected: 'at most 128 letters, digits, and . _ : -',
      initial: 'gantry',
    }),
    lifetime: key(duration(60_000, DAY_MS), {
      doc: 'How long a token is good; whatever changes meanwhile counts at once.',
      expected: 'a duration from 60s to 24h, such as 5m',
      initial: '5m',
    }),
    refreshLifetime: key(duration(60 * 60_000, 366 * DAY_MS), {
      doc: 'How long a client that logged in without keeping the password stays logged in.',
      expected: 'a duration from 1h to 8784h',
      initial: '2160h',
    }),
    secret: key(secretOr('off'), {
      doc: 'What the signing keys are encrypted with where they are stored; the same for all replicas.',
      expected: 'off, or at least 32 characters',
      initial: 'off',
      secret: true,
    }),
  }),
  tls: z.strictObject({
    certificate: key(text(/^[^\0]+$/), {
      doc: 'File with the certificate of the registry and those that issued it (PEM, its own first). With it all TCP addresses of `listen` speak HTTPS. Like the other files it is read again when it changes.',
      expected: 'off, or the path of a file',
      initial: 'off',
      flag: ['tls-certificate', 'file'],
    }),
    key: key(text(/^[^\0]+$/), {
      doc: 'File with the private key of that certificate; `off` if it is in the same file.',
      expected: 'off, or the path of a file',
      initial: 'off',
      flag: ['tls-key', 'file'],
    }),
    selfSigned: key(flag(), {
      doc: 'For a first try: make a certificate for the names of this machine, kept in the folder `tls` of `data`, and say how clients come to trust it.',
      expected: 'true or false',
      initial: false,
      flag: ['tls-self-signed'],
    }),
    clientAuthorities: key(text(/^[^\0]+$/), {
      doc: 'File with the authorities (PEM) whose certificates prove who a client is, without a password: `cert:NAME` in rules, with the common name of the certificate (else its first URI, DNS name or e-mail address) as name, and `organization`, `unit` and `issuer` as claims.',
      expected: 'off, or the path of a file',
      initial: 'off',
    }),
    minimum: key(z.preprocess(String, z.enum(['1.2', '1.3'])), {
      doc: 'The oldest version of TLS to speak.',
      expected: '1.2 or 1.3',
      initial: '1.2',
    }),
    redirect: key(addressOr('off'), {
      doc: 'A further address, for plain HTTP, where every request is sent to HTTPS.',
      expected: `off, or ${ADDRESS_FORM}`,
      initial: 'off',
    }),
  }),
  publicUrl: key(urlOr('auto'), {
    doc: 'How clients reach this registry, for where it sends them for tokens; `auto` takes it from each request.',
    expected: 'auto, or a URL without path, such as https://registry.example',
    initial: 'auto',
  }),
  proxies: key(proxies(), {
    doc: 'Who is believed what `Forwarded` or `X-Forwarded-…` headers say of a client: addresses, networks, or `unix` for whoever comes by a socket file. Where both are there and differ, neither is believed: a client made one of them up.',
    expected: 'addresses, networks such as 10.0.0.0/8, or unix',
    initial: [],
  }),
  metrics: z.strictObject({
    listen: key(addressOr('auto', 'off'), {
      doc: 'Address of `/metrics`, `/livez` and `/readyz`; the last two are on the registry’s addresses too. `auto` is 127.0.0.1:5099, or a free port where that is taken or the registry itself takes a free one; the ready line names it.',
      expected: `auto, off, or ${ADDRESS_FORM}`,
      initial: 'auto',
    }),
  }),
  timeouts: z.strictObject({
    headers: key(duration(1_000, DAY_MS), {
      doc: 'A request’s headers must have arrived within this time.',
      expected: 'a duration from 1s to 24h, such as 90, 90s or 2m',
      initial: '60s',
    }),
    idle: key(duration(1_000, DAY_MS), {
      doc: 'A connection on which nothing moves for this long, in either direction, is cut; what an upload sent is kept. Whole requests have no limit: uploads may take hours.',
      expected: 'a duration from 1s to 24h, such as 90, 90s or 2m',
      initial: '2m',
    }),
    keepAlive: key(duration(1_000, DAY_MS), {
      doc: 'How long a connection without request is kept: longer than a load balancer in front keeps it.',
      expected: 'a duration from 1s to 24h, such as 90, 90s or 2m',
      initial: '75s',
    }),
  }),
  stop: z.strictObject({
    delay: key(duration(0, DAY_MS), {
      doc: 'After a stop signal, go on serving this long while `/readyz` already answers 503, so that load balancers look away first.',
      expected: 'a duration from 0s to 24h, such as 10, 10s or 1m',
      initial: '0s',
    }),
    timeout: key(duration(0, DAY_MS), {
      doc: 'After a stop signal and `stop.delay`, let running answers finish this long, and cut what is left.',
      expected: 'a duration from 0s to 24h, such as 10, 10s or 1m',
      initial: '10s',
      flag: ['stop-timeout', 'duration'],
    }),
  }),
  limits: z.strictObject({
    connections: key(countOr('auto', 1, 10_000_000), {
      doc: 'Open connections, of all workers together; more are answered 503. `auto` is what the limit on open files has room for.',
      expected: 'auto, or a number from 1 to 10000000',
      initial: 'auto',
    }),
    manifest: key(size(4 * MIB, 64 * MIB), {
      doc: 'Size of a manifest; larger ones are answered 413.',
      expected: 'a size from 4MiB (the least that clients may rely on) to 64MiB',
      initial: '5MiB',
    }),
  }),
  rateLimit: z.strictObject({
    requests: key(rateOr('off', 1_000_000), {
      doc: 'Requests per second that one client (an IPv4 address, an IPv6 /64, or everyone on a unix socket) may make for long; more are answered 429.',
      expected: 'off, or a number above 0, such as 20 or 0.5',
      initial: 'off',
    }),
    burst: key(countOr('auto', 1, 10_000_000), {
      doc: 'Requests that a client may make at once after a pause; `auto` is what 10 seconds bring.',
      expected: 'auto, or a number from 1 to 10000000',
      initial: 'auto',
    }),
  }),
})

/** Checked and in our units: addresses parsed, durations in milliseconds, sizes in bytes. */
export type Config = z.output<typeof CONFIG>
