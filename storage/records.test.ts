/** Records whose bytes were changed, and those that nobody but an operator can put back. */
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import fc from 'fast-check'
import { Accounts } from './accounts.ts'
import type { Key, StorageDriver } from './driver.ts'
import { RecordDamaged } from './errors.ts'
import { openFsDriver } from './fs/driver.ts'
import { accountKey, FORMAT_KEY, signingKeyKey } from './layout.ts'
import { openStore } from './open.ts'
import { sealed, unsealed } from './sealed.ts'
import { SigningKeys } from './signing-keys.ts'

const fields = fc
  .dictionary(fc.string(), fc.jsonValue(), { minKeys: 1 })
  .map((value) => JSON.parse(JSON.stringify(value)) as Record<string, unknown>)

describe('a record as bytes', () => {
  it('is what was written, in one line', () => {
    fc.assert(
      fc.property(fields, (value) => {
        const text = sealed(value)
        assert.ok(!text.includes('\n'))
        assert.deepEqual(unsealed(Buffer.from(text)), value)
      }),
    )
  })

  it('is refused when any byte of it is another one, or when it ends early', () => {
    fc.assert(
      fc.property(fields, fc.nat(), fc.integer({ min: 1, max: 255 }), (value, place, bits) => {
        const bytes = Buffer.from(sealed(value))
        const at = place % bytes.length
        assert.throws(() => unsealed(bytes.subarray(0, at)))
        bytes.writeUInt8(bytes.readUInt8(at) ^ bits, at)
        assert.throws(() => unsealed(bytes))
      }),
      { numRuns: 1_000 },
    )
  })
})

describe('a damaged record that only an operator can put back', () => {
  let folder: string
  let driver: StorageDriver
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gantry-records-'))
    driver = await openFsDriver(folder)
  })
  after(async () => {
    await driver.close()
    await rm(folder, { recursive: true, force: true })
  })
  const told: string[] = []
  const tell = ({ key }: RecordDamaged): void => void told.push(key)
  const damage = (key: Key): Promise<void> => truncate(join(folder, key), 20)

  it('is an account: it is no account that is free, and the others are listed', async () => {
    const [alice, bob] = [{ kind: 'user', name: 'alice' } as const, { kind: 'user', name: 'bob' } as const]
    const accounts = new Accounts(driver, tell)
    for (const id of [alice, bob]) await accounts.create(id, { secrets: [], groups: [], grants: [] })
    await damage(accountKey(alice))
    await assert.rejects(accounts.find(alice), RecordDamaged)
    await assert.rejects(accounts.create(alice, { secrets: [], groups: [], grants: [] }), RecordDamaged)
    assert.deepEqual(
      (await Array.fromAsync(accounts.list())).map(({ name }) => name),
      ['bob'],
    )
    assert.ok(told.includes(accountKey(alice)))
  })

  it('is a key that signs: it is believed no more, and the others are', async () => {
    const keys = new SigningKeys(driver, tell)
    const key = { algorithm: 'ES256', publicKey: '', privateKey: '', createdAt: '', signsFrom: '' }
    for (const kid of ['one', 'two']) await keys.add({ ...key, kid })
    await damage(signingKeyKey('one'))
    assert.deepEqual(
      (await keys.all()).map(({ kid }) => kid),
      ['two'],
    )
    assert.ok(told.includes(signingKeyKey('one')))
  })

  it('is the one that says what the store is: it is left alone, and nothing is opened', async () => {
    const other = join(folder, 'other')
    await (await openStore(await openFsDriver(other))).close()
    const path = join(other, FORMAT_KEY)
    await writeFile(path, (await readFile(path, 'utf8')).replace('"format":1', '"format":3'))
    const again = await openFsDriver(other)
    await assert.rejects(openStore(again), /gantry\.json is damaged.*backup/)
    await again.close()
    assert.match(await readFile(path, 'utf8'), /"format":3/)
  })
})
