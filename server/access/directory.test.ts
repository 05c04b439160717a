import assert from 'node:assert/strict'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { hashSync } from 'bcryptjs'
import { Accounts } from '../../storage/accounts.ts'
import type { StorageDriver } from '../../storage/driver.ts'
import { openFsDriver } from '../../storage/fs/driver.ts'
import { addUser, disable } from '../testing/access.ts'
import { Attempts } from './attempts.ts'
import { BoundedMap } from './bounded-map.ts'
import { Directory, type DirectoryOptions } from './directory.ts'
import { FairQueue, QueueFull } from './fair-queue.ts'
import { Htpasswd } from './htpasswd.ts'
import { hashPassword, verifyPassword } from './passwords.ts'

let folder: string
let driver: StorageDriver
let accounts: Accounts
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gantry-directory-'))
  driver = await openFsDriver(join(folder, 'data'))
  accounts = new Accounts(driver)
  await addUser(accounts, 'alice', 'correct horse', ['dev'])
})
after(async () => {
  await driver.close()
  await rm(folder, { recursive: true, force: true })
})

/** A changed file is looked at within a second, a changed account much sooner. */
const seen = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1_050))

/** A directory that counts what it hashes. */
function counting(more: Partial<DirectoryOptions> = {}): { directory: Directory; hashed: string[] } {
  const hashed: string[] = []
  const verify: typeof verifyPassword = async (password, hash) => {
    hashed.push(hash)
    return await verifyPassword(password, hash)
  }
  return {
    directory: new Directory({
      accounts,
      complain: (error) => assert.fail(String(error)),
      failureMs: 0,
      seenMs: 20,
      verify,
      ...more,
    }),
    hashed,
  }
}

describe('a directory', () => {
  it('hashes the credentials of thirty requests once, at the same time or one after the other', async () => {
    const { directory, hashed } = counting()
    const all = await Promise.all(
      Array.from({ length: 30 }, () => directory.authenticate('alice', 'correct horse', 'a')),
    )
    assert.ok(all.every((known) => known?.identity.name === 'alice'))
    await directory.authenticate('alice', 'correct horse', 'b')
    assert.equal(hashed.length, 1)
  })

  it('does for a name that is not there the same work as for one that is', async () => {
    const { directory, hashed } = counting()
    assert.equal(await directory.authenticate('alice', 'wrong', 'a'), undefined)
    assert.equal(await directory.authenticate('nobody', 'wrong', 'a'), undefined)
    assert.equal(await directory.authenticate('../alice', 'wrong', 'a'), undefined)
    assert.deepEqual(
      hashed.map((hash) => hash.split('$').slice(0, 4)),
      Array.from({ length: 3 }, () => hashed[0]?.split('$').slice(0, 4)),
    )
  })

  it('forgets who was right when the account is disabled or its password changed', async () => {
    await addUser(accounts, 'carol', 'correct horse')
    const id = { kind: 'user', name: 'carol' } as const
    const { directory } = counting()
    const known = await directory.authenticate('carol', 'correct horse', 'a')
    assert.ok(known && (await directory.current(id, known.generation)))
    await disable(accounts, id)
    await seen()
    assert.equal(await directory.authenticate('carol', 'correct horse', 'a'), undefined)
    assert.equal(await directory.current(id, known.generation), undefined)
    const secrets = [{ id: 'new', hash: await hashPassword('battery staple'), createdAt: '' }]
    await accounts.change(id, () => ({ enabled: true, secrets }))
    await seen()
    assert.equal(await directory.authenticate('carol', 'correct horse', 'a'), undefined)
    assert.ok(await directory.authenticate('carol', 'battery staple', 'a'))
    assert.equal(await directory.current(id, known.generation), undefined)
  })

  it('believes a token of another process, which has seen a change that this one has not', async () => {
    await addUser(accounts, 'frank', 'correct horse')
    const id = { kind: 'user', name: 'frank' } as const
    const [{ directory: here }, { directory: there }] = [counting({ seenMs: 60_000 }), counting()]
    assert.ok(await here.authenticate('frank', 'correct horse', 'a'))
    await accounts.change(id, () => ({ secrets: [{ id: 'new', hash: hashSync('battery staple', 4), createdAt: '' }] }))
    await new Promise((resolve) => setTimeout(resolve, 110)) // no account is read again sooner
    const { generation } = (await there.authenticate('frank', 'battery staple', 'a')) ?? assert.fail()
    assert.equal((await here.current(id, generation))?.name, 'frank')
    assert.equal(await here.current(id, 'another'), undefined)
  })

  it('slows down who guesses, and nobody else', async () => {
    const { directory } = counting()
    for (let i = 0; i < 5; i++) assert.equal(await directory.authenticate('alice', `guess ${i}`, 'attacker'), undefined)
    await assert.rejects(directory.authenticate('alice', 'guess', 'attacker'), { kind: 'tooManyRequests' })
    assert.ok(await directory.authenticate('alice', 'correct horse', 'home'))
    assert.ok(await directory.authenticate('alice', 'correct horse', 'attacker'), 'who was right already does not wait')
    assert.equal(await directory.authenticate('bob', 'guess', 'attacker'), undefined)
  })

  it('keeps the time of use to the hour', async () => {
    await addUser(accounts, 'dave', 'correct horse')
    const id = { kind: 'user', name: 'dave' } as const
    const account = await accounts.find(id)
    assert.ok(account && account.lastUsedAt === undefined)
    await accounts.used(account, new Date('2030-01-01T10:00:00Z'))
    const used = await accounts.find(id)
    assert.ok(used)
    await accounts.used(used, new Date('2030-01-01T10:59:00Z'))
    assert.equal((await accounts.find(id))?.lastUsedAt, '2030-01-01T10:00:00.000Z')
    await accounts.used(used, new Date('2030-01-01T11:00:00Z'))
    assert.equal((await accounts.find(id))?.lastUsedAt, '2030-01-01T11:00:00.000Z')
  })
})

describe('a htpasswd file', () => {
  it('is a source of users that follows the file, without hiding accounts', async () => {
    const path = join(folder, 'htpasswd')
    const complaints: string[] = []
    const line = (name: string, password: string): string => `${name}:${hashSync(password, 4)}\n`
    await writeFile(path, `# people\n${line('erin', 'correct horse')}${line('alice', 'from the file')}old:{SHA}abc\n`)
    const htpasswd = new Htpasswd(path, (problem) => complaints.push(problem))
    const { directory } = counting({ htpasswd })
    const erin = await directory.authenticate('erin', 'correct horse', 'a')
    assert.equal(erin?.identity.name, 'erin')
    assert.equal(await directory.authenticate('alice', 'from the file', 'a'), undefined)
    assert.deepEqual(complaints, [`${path}:4: expected NAME:HASH with a bcrypt hash, as \`htpasswd -B\` makes it`])

    await writeFile(`${path}.new`, line('erin', 'battery staple'))
    await rename(`${path}.new`, path)
    await seen()
    assert.equal(await directory.authenticate('erin', 'correct horse', 'a'), undefined)
    assert.equal(await directory.current({ kind: 'user', name: 'erin' }, erin?.generation ?? ''), undefined)
    assert.ok(await directory.authenticate('erin', 'battery staple', 'a'))

    await rm(path)
    await seen()
    assert.equal(await directory.authenticate('erin', 'battery staple', 'a'), undefined)
    assert.match(complaints.at(-1) ?? '', /^cannot read /)
  })
})

describe('passwords', () => {
  it('are verified in both forms, and never in one that we do not know', async () => {
    const hash = await hashPassword('correct horse')
    assert.match(hash, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/)
    assert.equal(await verifyPassword('correct horse', hash), true)
    assert.equal(await verifyPassword('Correct horse', hash), false)
    const bcrypt = hashSync('correct horse', 4)
    for (const form of [bcrypt, bcrypt.replace(/^\$2b/, '$2y'), bcrypt.replace(/^\$2b/, '$2a')]) {
      assert.equal(await verifyPassword('correct horse', form), true, form)
      assert.equal(await verifyPassword('wrong', form), false)
    }
    for (const strange of ['', 'correct horse', '$1$abc', '$argon2id$v=19$m=99999999,t=2,p=1$a$b']) {
      assert.equal(await verifyPassword('correct horse', strange), false)
    }
    assert.equal(await verifyPassword('x'.repeat(2_000), hash), false)
  })
})

describe('FairQueue', () => {
  it('gives each asker a turn, whoever asks more', async () => {
    const queue = new FairQueue(1, 5)
    const order: string[] = []
    const work = (name: string) => async (): Promise<void> => {
      order.push(name)
      await new Promise(setImmediate)
    }
    await Promise.all([
      ...['a1', 'a2', 'a3', 'a4'].map((name) => queue.run('a', work(name))),
      queue.run('b', work('b1')),
      queue.run('c', work('c1')),
    ])
    assert.deepEqual(order, ['a1', 'a2', 'b1', 'c1', 'a3', 'a4'])
  })

  it('refuses more than may wait, and goes on after failures', async () => {
    const queue = new FairQueue(1, 1)
    const failing = queue.run('a', async () => await Promise.reject(new Error('broken')))
    const waiting = queue.run('a', async () => 'waited')
    await assert.rejects(
      queue.run('a', async () => 'third'),
      QueueFull,
    )
    await assert.rejects(failing, /broken/)
    assert.equal(await waiting, 'waited')
    assert.equal(await queue.run('b', async () => 'later'), 'later')
  })
})

describe('Attempts', () => {
  it('makes each pause twice the last one, up to a minute, and forgets', () => {
    const attempts = new Attempts()
    const pauses: (string | undefined)[] = []
    for (let now = 0, i = 0; i < 14; i++) {
      attempts.failed('alice', 'a', now)
      try {
        attempts.demand('alice', 'a', now)
        pauses.push('0')
      } catch (error) {
        const seconds = (error as { headers: Record<string, string> }).headers['Retry-After']
        pauses.push(seconds)
        now += Number(seconds) * 1_000
      }
    }
    assert.deepEqual(pauses.slice(3, 12), ['0', '1', '2', '4', '8', '16', '32', '60', '60'])
    attempts.demand('alice', 'a', 1e9)
  })
})

describe('whoever tries one password on every name', () => {
  it('waits, while those who were right at that address before do not, nor anybody elsewhere', () => {
    const attempts = new Attempts()
    attempts.succeeded('alice', 'office', 0)
    for (let i = 0; i < 50; i++) {
      attempts.demand(`name${i}`, 'office', 0)
      attempts.failed(`name${i}`, 'office', 0)
    }
    assert.throws(() => attempts.demand('name50', 'office', 0), { kind: 'tooManyRequests' })
    attempts.demand('alice', 'office', 0)
    attempts.demand('name50', 'elsewhere', 0)
    attempts.failed('alice', 'office', 0)
    attempts.demand('alice', 'office', 0)
    attempts.demand('name50', 'office', 6_000)
  })

  it('gets two checks at a time out of everybody, however many addresses they have', async () => {
    let [running, most, checked] = [0, 0, 0]
    const verify: typeof verifyPassword = async () => {
      most = Math.max(most, ++running)
      await new Promise(setImmediate)
      running--
      checked++
      return false
    }
    const { directory } = counting({ verify })
    const guesses = Array.from({ length: 60 }, (_, i) =>
      directory.authenticate(`name${i}`, 'guess', `address ${i % 30}`),
    )
    assert.ok((await Promise.all(guesses)).every((known) => known === undefined))
    assert.deepEqual([most, checked], [2, 60])
  })
})

describe('BoundedMap', () => {
  it('forgets what is over, and what was not used for longest', () => {
    const map = new BoundedMap<number>(2)
    map.set('a', 1, 100)
    map.set('b', 2, 100)
    assert.equal(map.get('a', 50), 1)
    map.set('c', 3, 100)
    assert.deepEqual([map.get('b', 50), map.get('a', 50), map.get('c', 50), map.size], [undefined, 1, 3, 2])
    assert.deepEqual([map.get('a', 100), map.size], [undefined, 1])
  })
})
