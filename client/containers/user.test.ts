import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { HOST_IDS, parseOwnIds } from '../store/own-ids.ts'
import { resolveUser, UserError, userHere } from './user.ts'

const files = {
  passwd: 'root:x:0:0:root:/root:/bin/sh\nme:x:1000:100:Me:/home/me:/bin/sh\n1001:x:0:0:trap:/root:/bin/sh\nbroken\n',
  group: 'root:x:0:\nusers:x:100:\naudio:x:29:other,me\nvideo:x:44:me\n',
}

describe('the user of a container', () => {
  it('is root when nobody is named', () =>
    assert.deepEqual(resolveUser('', files), { uid: 0, gid: 0, additionalGids: [0], home: '/root' }))
  it('has the groups of its name', () =>
    assert.deepEqual(resolveUser('me', files), {
      uid: 1000,
      gid: 100,
      additionalGids: [100, 29, 44],
      home: '/home/me',
    }))
  it('has the groups of its number too, if the image knows it', () =>
    assert.deepEqual(resolveUser('1000', files), resolveUser('me', files)))
  it('may leave the group out after the colon', () =>
    assert.deepEqual(resolveUser('me:', files), resolveUser('me', files)))
  it('never loses its own group to a set-group-ID program (CVE-2022-36109)', () =>
    assert.deepEqual(resolveUser('5:6', files).additionalGids, [6]))
  it('does not become of root’s group when its own is no number', () =>
    assert.throws(
      () => resolveUser('me', { passwd: 'me:x:1000:99999999999::/:', group: '' }),
      /a group that is no number/,
    ))
  it('has no other groups when one is given', () =>
    assert.deepEqual(resolveUser('me:video', files).additionalGids, [44]))
  it('may be a number that nobody has', () =>
    assert.deepEqual(resolveUser('4711', files), { uid: 4711, gid: 0, additionalGids: [0], home: '/' }))
  it('is a number when it is digits, even if somebody has that name (CVE-2016-3697)', () =>
    assert.equal(resolveUser('1001', files).uid, 1001))
  it('takes user and group by number', () => assert.equal(resolveUser('5:6', files).gid, 6))
  for (const wrapped of ['4294967296', '2147483648', '-1', '+0', '99999999999999999999'])
    it(`is refused as ${wrapped}, which would wrap (CVE-2024-40635)`, () =>
      assert.throws(() => resolveUser(wrapped, files), UserError))
  it('is refused when the image does not know it', () =>
    assert.throws(() => resolveUser('nobody', files), /no user "nobody"/))
  it('is refused when the image does not know its group', () =>
    assert.throws(() => resolveUser('me:nogroup', files), /no group "nogroup"/))
  it('is refused where a user namespace does not have it, and loses groups that are not there', () => {
    const user = { uid: 33, gid: 33, additionalGids: [33, 44], home: '/' }
    const some = parseOwnIds('0 1000 40', '0 1000 40', 'allow')
    assert.deepEqual(userHere(user, some).additionalGids, [33])
    assert.deepEqual(userHere({ ...user, uid: 0, gid: 0 }, parseOwnIds('0 9 1', '0 9 1', 'deny')).additionalGids, [])
    assert.throws(() => userHere({ ...user, uid: 40 }, some), /user 40:33 does not exist/)
    assert.throws(() => userHere({ ...user, gid: 40 }, some), UserError)
    assert.equal(userHere(user, HOST_IDS).additionalGids.length, 2)
  })
  it('never becomes an id that wraps, whatever the text and the files say', () =>
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), (text, passwd, group) => {
        try {
          const { uid, gid } = resolveUser(text, { passwd, group })
          return uid >= 0 && uid < 2 ** 31 && gid >= 0 && gid < 2 ** 31
        } catch (error) {
          return error instanceof UserError
        }
      }),
    ))
})
