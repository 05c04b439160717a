/** The pages of the manual, as the programs that show them read them. */
import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { it } from 'node:test'
import { run } from '../../conformance/support/commands.ts'
import { findAll } from '../../conformance/support/needs.ts'
import { runClientCli } from '../cli.ts'

/** Without the overstrikes that make it bold. */
const plain = (text: string): string => text.replaceAll(/.[\b]/g, '')

/** What is to be typed, in the help of that page's verb. */
async function examples(page: string): Promise<readonly string[]> {
  const said: string[] = []
  const [, verb] = /^gantry-(.*)\.1$/.exec(page) ?? []
  const words = [...(verb === undefined ? [] : [verb]), '--help']
  await runClientCli(words, { line: (text) => void said.push(text), note: () => {} })
  const lines = said.join('\n').split('\n')
  return lines.filter((line) => /^ +[$#] /.test(line)).map((line) => line.trim())
}

const skip = (await findAll('groff')).length > 0 ? false : 'not installed: groff'

it('every verb has a page of the manual in which groff finds nothing to complain of, with all its options', {
  skip,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-man-'))
  try {
    const output = { line: () => {}, note: (text: string) => assert.fail(text) }
    assert.equal(await runClientCli(['man', '--into', folder], output), 0)
    const pages = await readdir(folder)
    assert.ok(pages.includes('gantry.1') && pages.includes('gantry-run.1') && pages.length > 40)
    for (const page of pages) {
      const { code, stdout, stderr } = await run('groff', [
        '-man',
        '-Tutf8',
        '-ww',
        '-P-c',
        '-K',
        'utf8',
        join(folder, page),
      ])
      assert.deepEqual([page, code, stderr], [page, 0, ''])
      assert.match(plain(stdout), /NAME\n.*SYNOPSIS\n/s)
      for (const line of await examples(page)) assert.ok(plain(stdout).includes(line), `${page}: ${line}`)
    }
    const { stdout } = await run('groff', ['-man', '-Tascii', '-P-cbou', join(folder, 'gantry-run.1')])
    assert.match(plain(stdout), /\n +-e, --env .*\nEXAMPLES\n/s)
    assert.match(await readFile(join(folder, 'gantry-volume.1'), 'utf8'), /^\.SH GANTRY VOLUME CREATE$/m)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

it('a page of a verb that there is not, and of one that the server describes, is refused', async () => {
  const notes: string[] = []
  const output = { line: () => {}, note: (text: string) => void notes.push(text) }
  assert.equal(await runClientCli(['man', 'nosuch'], output), 1)
  assert.equal(await runClientCli(['man', 'serve'], output), 1)
  assert.match(notes.join('\n'), /no verb nosuch.*gantry serve --help/s)
})
