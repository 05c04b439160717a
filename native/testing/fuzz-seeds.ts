// What the fuzzers begin with: inputs that are nearly all understood, so that what is behind the first checks is reached, too.
import { gzipSync } from 'node:zlib'
import { Archive, END, header, padded, paxHeader, paxRecord } from './archive.ts'
import { dockerConfig } from './bundle.ts'

const text = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))

/** Every property of config.json that is understood, somewhere. */
function configurations(): readonly Buffer[] {
  const full = dockerConfig('true')
  const mapping = [{ containerID: 0, hostID: 100_000, size: 65_536 }]
  Object.assign(full, {
    domainname: 'domain',
    annotations: { key: 'value' },
    hooks: {
      createRuntime: [{ path: '/bin/hook', args: ['hook'], env: ['A=b'], timeout: 3 }],
      poststop: [{ path: '/bin/hook' }],
    },
  })
  Object.assign(full.process, {
    terminal: true,
    consoleSize: { height: 24, width: 80 },
    user: { uid: 1, gid: 2, umask: 18, additionalGids: [3, 4] },
    rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1024, hard: 4096 }],
    oomScoreAdj: 100,
  })
  full.mounts.push(
    { destination: '/data', type: 'bind', source: 'data', options: ['rbind', 'rro', 'nosuid', 'rslave', 'idmap'] },
    { destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['tmpcopyup', 'size=1m', 'noatime'] },
    { destination: '/proc/uptime', type: 'bind', source: '/uptime', options: ['bind'] },
  )
  Object.assign(full.linux, {
    uidMappings: mapping,
    gidMappings: mapping,
    cgroupsPath: '/a/b',
    rootfsPropagation: 'slave',
    sysctl: { 'net.ipv4.ip_forward': '1', 'kernel.msgmax': '8192' },
    devices: [{ path: '/dev/fuse', type: 'c', major: 10, minor: 229, fileMode: 438, uid: 0, gid: 0 }],
    resources: {
      devices: [
        { allow: false, access: 'rwm' },
        { allow: true, type: 'c', major: 1, minor: 3, access: 'rw' },
      ],
      memory: { limit: 1 << 26, reservation: 1 << 25, swap: 1 << 27, swappiness: 10, disableOOMKiller: true },
      cpu: { shares: 512, quota: 50_000, period: 100_000, cpus: '0-1', mems: '0', burst: 1, idle: 0 },
      pids: { limit: 100 },
      blockIO: { weight: 100, throttleReadBpsDevice: [{ major: 8, minor: 0, rate: 1000 }] },
      hugepageLimits: [{ pageSize: '2MB', limit: 1 << 21 }],
      network: { classID: 1, priorities: [{ name: 'lo', priority: 1 }] },
      rdma: { mlx5_1: { hcaHandles: 1, hcaObjects: 2 } },
      unified: { 'memory.high': '1000' },
    },
    seccomp: {
      defaultAction: 'SCMP_ACT_ERRNO',
      defaultErrnoRet: 38,
      architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
      flags: ['SECCOMP_FILTER_FLAG_LOG'],
      syscalls: [
        { names: ['read', 'write', 'nosuch'], action: 'SCMP_ACT_ALLOW' },
        {
          names: ['clone'],
          action: 'SCMP_ACT_ERRNO',
          errnoRet: 1,
          args: [{ index: 0, op: 'SCMP_CMP_MASKED_EQ', value: 2_114_060_288, valueTwo: 0 }],
        },
      ],
    },
  })
  ;(full.linux['namespaces'] as object[]).push({ type: 'user' })
  return [text(dockerConfig('true')), text(full)]
}

/** A header and two texts, after the byte that says how many descriptors come along. */
function packet(descriptors: number, type: number, id: string, bundle: string): Buffer {
  const header = Buffer.alloc(25)
  header.writeUInt8(descriptors, 0)
  header.writeUInt32LE(type, 1)
  header.writeUInt32LE(7, 5)
  header.writeUInt32LE(id.length, 17)
  header.writeUInt32LE(bundle.length, 21)
  return Buffer.concat([header, Buffer.from(id + bundle)])
}

/** A signal of systemd's manager, as a private connection brings it. */
function jobRemoved(): Buffer {
  const text = (value: string): Buffer => {
    const length = Buffer.alloc(4)
    length.writeUInt32LE(value.length)
    const end = Buffer.alloc(4 - (value.length % 4)) // and so what follows is aligned
    return Buffer.concat([length, Buffer.from(value), end])
  }
  const field = (number: number, type: string, value: Buffer): Buffer => {
    const whole = Buffer.concat([Buffer.from([number, 1]), Buffer.from(`${type}\0`), value])
    return Buffer.concat([whole, Buffer.alloc((8 - (whole.length % 8)) % 8)])
  }
  const signature = field(8, 'g', Buffer.from('\x04uoss\0')).subarray(0, 10)
  const fields = Buffer.concat([field(1, 'o', text('/a')), field(3, 's', text('JobRemoved')), signature])
  const body = Buffer.concat([Buffer.from([7, 0, 0, 0]), text('/job/7'), text('a.scope'), text('done')])
  const start = Buffer.from(`l\x04\0\x01${'\0'.repeat(12)}`, 'latin1')
  start.writeUInt32LE(body.length, 4)
  start.writeUInt32LE(1, 8)
  start.writeUInt32LE(fields.length, 12)
  return Buffer.concat([start, fields, Buffer.alloc((8 - (fields.length % 8)) % 8), body])
}

const words = (...each: readonly string[]): Buffer => Buffer.from(each.join('\0'))

/** By the name of the fuzzer. */
export const SEEDS: Readonly<Record<string, readonly Buffer[]>> = {
  gzip: [1, 6, 9].map((level) => gzipSync(Buffer.from('what is said twice, is said twice'.repeat(9)), { level })),
  tar: [
    new Archive()
      .directory('d')
      .file('d/f', 'x', { xattrs: { 'user.a': 'b' } })
      .symlink('s', 'd')
      .hardlink('h', 'd/f')
      .bytes(),
    Buffer.concat([
      paxHeader(Buffer.concat([paxRecord('GNU.sparse.size', '99'), paxRecord('GNU.sparse.map', '3,7')])),
      header({ size: 7 }),
      padded(Buffer.from('content')),
      END,
    ]),
  ],
  config: configurations(),
  json: [...configurations(), Buffer.from('[null, true, -0.5e+3, "\\ud83d\\ude00 \\u0000 é", {"": {"a": [[]]}}]')],
  protocol: [packet(3, 1, 'id', '/bundle'), packet(0, 2, '', ''), packet(1, 3, '', '')],
  dbus: [
    jobRemoved(),
    ...['TimeoutStopSec\n7.5', 'Documentation\n[\'man:one(1)\', "b"]', 'CPUWeight\nuint64 77'].map((each) =>
      Buffer.from(each),
    ),
    Buffer.from('system.slice:docker:id'),
  ],
  command_line: [
    words('', '--root', '/r', '--log=/l', '--log-format', 'json', 'create', '-b', '/b', '--pid-file', '/p', 'id'),
    words('', 'exec', '--user', '1:2', '--cap=CAP_CHOWN', '--preserve-fds', '2', '-e', 'A=b', 'id', 'sh', '-c', 'x'),
    words('', 'kill', '--all', 'id', 'SIGTERM'),
    words('', 'events', '--stats', '--interval', '5s', 'id'),
  ],
  seccomp: [Buffer.alloc(600, 0x5a), Buffer.from(Array.from({ length: 900 }, (_, i) => (i * 37) % 251))],
}
