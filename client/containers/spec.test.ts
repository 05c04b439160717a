import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { OWN_NETWORK } from '../../native/monitor-plan.ts'
import type { ImageProcess } from '../model/image-process.ts'
import { HOST_IDS, type OwnIds, parseOwnIds } from '../store/own-ids.ts'
import type { ContainerRequest } from './request.ts'
import { RequestError } from './request-error.ts'
import { containerSpec } from './spec.ts'

interface Spec {
  process: {
    args: string[]
    env: string[]
    cwd: string
    terminal: boolean
    noNewPrivileges: boolean
    capabilities: Record<string, string[]>
  }
  mounts: { destination: string; options: string[] }[]
  linux: {
    namespaces: { type: string; path?: string }[]
    maskedPaths: string[]
    sysctl: Record<string, string>
    resources?: { devices?: object[] }
  }
}

const specOf = (image: ImageProcess, request: ContainerRequest = {}, uid = 0, ids?: OwnIds): Spec =>
  containerSpec({
    ...(ids ? { ids } : {}),
    image,
    request,
    user: { uid, gid: uid, additionalGids: [], home: '/home/me' },
    hostname: 'abc',
    seccomp: undefined,
    files: [{ source: '/store/hosts', destination: '/etc/hosts' }],
  }) as Spec

const argsOf = (image: ImageProcess, request: ContainerRequest = {}) => specOf(image, request).process.args
const envOf = (image: ImageProcess, request: ContainerRequest = {}) =>
  Object.fromEntries(specOf(image, request).process.env.map((each) => each.split(/=(.*)/s, 2)))

describe('the command of a container', () => {
  const image = { Entrypoint: ['/entry'], Cmd: ['default'] }
  it('is the entrypoint and the command', () => assert.deepEqual(argsOf(image), ['/entry', 'default']))
  it('keeps the entrypoint when a command is given', () =>
    assert.deepEqual(argsOf(image, { command: ['x'] }), ['/entry', 'x']))
  it('forgets the image command when an entrypoint is given', () =>
    assert.deepEqual(argsOf(image, { entrypoint: '/new' }), ['/new']))
  it('has no entrypoint when it is emptied', () =>
    assert.deepEqual(argsOf(image, { entrypoint: '', command: ['x'] }), ['x']))
  it('is refused when there is none', () => assert.throws(() => argsOf({}), RequestError))
})

describe('the environment of a container', () => {
  it('has a path, a host name and a home', () => {
    const { PATH, HOSTNAME, HOME } = envOf({ Cmd: ['x'] })
    assert.match(PATH ?? '', /^\/usr\/local\/sbin:/)
    assert.deepEqual([HOSTNAME, HOME], ['abc', '/home/me'])
  })
  it('prefers what the user says to what the image says', () =>
    assert.equal(envOf({ Cmd: ['x'], Env: ['A=1', 'B=2'] }, { environment: ['A=3=4'] })['A'], '3=4'))
  it('lets a name alone take a variable away', () =>
    assert.equal('B' in envOf({ Cmd: ['x'], Env: ['B=2'] }, { environment: ['B'] }), false))
  it('has TERM only with a terminal', () => {
    assert.equal('TERM' in envOf({ Cmd: ['x'] }), false)
    assert.equal(envOf({ Cmd: ['x'] }, { terminal: true })['TERM'], 'xterm')
  })
  it('refuses a variable without a name', () =>
    assert.throws(() => envOf({ Cmd: ['x'] }, { environment: ['=x'] }), RequestError))
})

describe('the walls of a container', () => {
  const spec = specOf({ Cmd: ['x'] })
  it('are six namespaces', () =>
    assert.deepEqual(
      spec.linux.namespaces.map(({ type }) => type),
      ['pid', 'mount', 'ipc', 'uts', 'network', 'cgroup'],
    ))
  it('have a network that somebody else makes first, unless they join one', () => {
    const path = (request: ContainerRequest): unknown =>
      specOf({ Cmd: ['x'] }, request).linux.namespaces.find(({ type }) => type === 'network')?.path
    assert.equal(path({}), OWN_NETWORK)
    assert.equal(path({ network: 'none' }), OWN_NETWORK)
    assert.equal(path({ network: 'host' }), undefined)
  })
  it('never contain the right to make devices', () => assert.ok(!JSON.stringify(spec).includes('CAP_MKNOD')))
  it('pass no capability on', () => {
    assert.deepEqual(spec.process.capabilities['inheritable'], [])
    assert.deepEqual(spec.process.capabilities['ambient'], [])
    assert.equal(spec.process.noNewPrivileges, true)
  })
  it('leave a user who is not root nothing to use', () =>
    assert.deepEqual(specOf({ Cmd: ['x'] }, {}, 1000).process.capabilities['effective'], []))
  it('show sysfs and the cgroups read-only', () => {
    for (const destination of ['/sys', '/sys/fs/cgroup'])
      assert.ok(spec.mounts.find((mount) => mount.destination === destination)?.options.includes('ro'), destination)
  })
  it('hide what tells about the host', () => assert.ok(spec.linux.maskedPaths.includes('/proc/kcore')))
  it('refuse a relative working directory', () =>
    assert.throws(() => specOf({ Cmd: ['x'] }, { workingDirectory: 'tmp' }), RequestError))
})

describe('where an ordinary user has only the ids that are his', () => {
  const own = parseOwnIds('0 1000 1', '0 1000 1', 'deny')
  const some = parseOwnIds('0 1000 1\n1 100000 65536', '0 1000 1\n1 100000 65536', 'allow')
  const PING = 'net.ipv4.ping_group_range'
  const spec = (ids: OwnIds, request: ContainerRequest = {}) => specOf({ Cmd: ['x'] }, request, 0, ids)
  const terminals = (ids: OwnIds) => spec(ids).mounts.find(({ destination }) => destination === '/dev/pts')?.options

  it('terminals belong to the group of terminals if there is one', () => {
    assert.ok(terminals(HOST_IDS)?.includes('gid=5') && terminals(some)?.includes('gid=5'))
    assert.ok(terminals(own) && !terminals(own)?.includes('gid=5'))
  })
  it('groups that may ping are those that there are', () =>
    assert.deepEqual(
      [HOST_IDS, some, own].map((ids) => spec(ids).linux.sysctl[PING]),
      ['0 2147483647', '0 65535', '0 0'],
    ))
  it('a privileged container has no rules for devices, which only root may make', () => {
    assert.ok(spec(HOST_IDS, { privileged: true }).linux.resources?.devices)
    assert.equal(spec(own, { privileged: true }).linux.resources, undefined)
    assert.throws(() => spec(own, { deviceCgroupRules: ['c 1:3 rwm'] }), /needs root/)
  })
})
