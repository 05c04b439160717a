/** Against folders that look as the kernel's do; what an ordinary user may write to is for rootless.system.test.ts. */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { controllersAt } from './limits.ts'

const UID = 1000
const MANAGER = '/user.slice/user-1000.slice/user@1000.service'

describe('the controllers that a control group could have', () => {
  let root: string
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'gantry-groups-'))
  })
  afterEach(() => rm(root, { recursive: true }))

  const groups = async (files: Readonly<Record<string, string>>): Promise<void> => {
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(root, path)), { recursive: true })
      await writeFile(join(root, path), text)
    }
  }
  const at = (path: string, own: string): readonly string[] | undefined => {
    const found = controllersAt(path, { root, own, uid: UID })
    return found && [...found].toSorted()
  }

  it('are those of the hierarchies that there are', async () => {
    await groups({ 'cpu,cpuacct/tasks': '', 'memory/a/b/tasks': '' })
    const own = '4:memory:/x\n3:cpu,cpuacct:/x\n2:pids:/x\n1:name=systemd:/x\n'
    assert.deepEqual(at('/gantry/c1', own), ['cpu', 'cpuacct', 'memory'])
    assert.deepEqual(at('/a/b/c1', own), ['cpu', 'cpuacct', 'memory'])
  })

  it('are in version 2 what the nearest parent has to hand down', async () => {
    await groups({
      'cgroup.controllers': 'cpu memory pids\n',
      'cgroup.subtree_control': 'memory pids\n',
      'a/cgroup.controllers': 'memory pids\n',
      'a/cgroup.subtree_control': '\n',
    })
    assert.deepEqual(at('/gantry/c1', '0::/x\n'), ['cpu', 'memory', 'pids'])
    assert.deepEqual(at('/a/b/c1', '0::/x\n'), ['memory', 'pids'])
  })

  it('are beside those of version 1 where there are both', async () => {
    await groups({
      'unified/cgroup.controllers': 'hugetlb\n',
      'unified/cgroup.subtree_control': '',
      'memory/tasks': '',
    })
    assert.deepEqual(at('/gantry/c1', '2:memory:/\n0::/\n'), ['hugetlb', 'memory'])
  })

  it('are none where none are mounted', () => {
    assert.deepEqual(at('/gantry/c1', '2:memory:/\n0::/\n'), [])
  })

  it('are for a user’s systemd what it was handed, and nothing is known of one that is elsewhere', async () => {
    assert.equal(at(':gantry:c1', '0::/\n'), undefined)
    await groups({ [`${MANAGER}/cgroup.controllers`]: 'cpu memory\n' })
    assert.deepEqual(at(':gantry:c1', '0::/system.slice/ssh.service\n'), ['cpu', 'memory'])
    await groups({ [`nested${MANAGER}/cgroup.controllers`]: 'pids\n' })
    assert.deepEqual(at(':gantry:c1', `0::/nested${MANAGER}/app.slice/x.scope\n`), ['pids'])
  })
})
