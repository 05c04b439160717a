import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { keysOf } from './config/key.ts'
import { CONFIG } from './config/schema.ts'
import { runGantry } from './testing/gantry-process.ts'

describe('gantry init', () => {
  let folder: string
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gantry-init-'))
  })
  after(() => rm(folder, { recursive: true, force: true }))

  for (const kind of ['disk', 's3', 'accounts']) {
    it(`writes a file for ${kind} that is valid as it is, and says of each key what the reference says`, async () => {
      const file = join(folder, `${kind}.yaml`)
      const { code, stdout, stderr } = await runGantry(['init', kind, '--output', file])
      assert.deepEqual([code, stdout, stderr], [0, `${file} is written; next: gantry serve --config ${file}\n`, ''])
      assert.equal((await stat(file)).mode & 0o777, 0o600)
      const check = await runGantry(['config', 'check', '--config', file])
      assert.deepEqual([check.code, check.stderr], [0, ''])

      const text = await readFile(file, 'utf8')
      const flat = text.replaceAll(/\n *# */g, ' ')
      for (const { doc, variable, secret, path } of keysOf(CONFIG)) {
        assert.ok(flat.includes(`${doc} (${variable})`), `what ${path.join('.')} is for`)
        if (secret) assert.doesNotMatch(text, new RegExp(`^ *${path.at(-1)}:`, 'm'))
      }
      const shown = await runGantry(['config', 'show', '--config', file])
      const expected = {
        disk: /data: \.\/gantry-data # .*disk\.yaml:/,
        s3: /bucket: registry # /,
        accounts: /group:team-a/,
      }
      assert.match(shown.stdout, expected[kind as keyof typeof expected])
    })
  }

  it('overwrites nothing, prints to standard output if asked, and names the kinds', async () => {
    const file = join(folder, 'disk.yaml')
    const before = await readFile(file, 'utf8')
    const again = await runGantry(['init', 's3', '--output', file])
    assert.equal(again.code, 1)
    assert.match(again.stderr, /^gantry init: cannot write .*: it is there already, and is not overwritten/)
    assert.equal(await readFile(file, 'utf8'), before)
    assert.match((await runGantry(['init', '--output', '-'])).stdout, /^# A registry on this disk/)
    const unknown = await runGantry(['init', 'floppy'])
    assert.equal(unknown.code, 2)
    assert.match(unknown.stderr, /disk, s3, accounts/)
  })
})
