/**
 * What docker's users type, typed to docker and to Gantry: Debian's daemon and the command, the same image, line by line. Exit code and standard
 * output have to be the same, but for ids; where Gantry answers something else, session.ts says why.
 */
import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { busyboxLayer, pullMade } from '../../client/testing/busybox-image.ts'
import { type Finished, run } from '../support/commands.ts'
import { type Dockerd, startDockerd } from '../support/dockerd.ts'
import { missing } from '../support/needs.ts'
import { Workspace } from '../support/workspace.ts'
import { type Line, SESSION } from './session.ts'

const COMMAND = fileURLToPath(new URL('../../native/build/gantry', import.meta.url))
const skip = await missing('docker', 'dockerd', 'containerd', 'runc', 'busybox', 'ps', 'unshare')
/** The mounts that it leaves go with it. */
const APART = ['unshare', '--mount']
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

describe('a session of docker’s users', { skip }, () => {
  const cleanup = new AsyncDisposableStack()
  let workspace: Workspace
  let dockerd: Dockerd
  let image: string

  before(async () => {
    workspace = await Workspace.open()
    cleanup.defer(async () => {
      const left = await workspace.leftovers()
      await workspace[Symbol.asyncDispose]()
      assert.deepEqual(left, [])
    })
    dockerd = cleanup.use(await startDockerd(workspace, APART))
    const layer = await busyboxLayer()
    image = await pullMade(workspace.path('gantry'), [layer], { Cmd: ['sh'], Env: [`PATH=${PATH}`] })
    await writeFile(workspace.path('box.tar'), layer)
    await dockerd.docker([
      'import',
      '--change',
      `ENV PATH=${PATH}`,
      '--change',
      'CMD ["sh"]',
      workspace.path('box.tar'),
      image,
    ])
    for (const side of ['docker-files', 'gantry-files']) await mkdir(workspace.path(side))
    cleanup.defer(async () => {
      const { stdout } = await gantry(['ps', '-aq'])
      if (stdout !== '') await gantry(['rm', '-fv', ...stdout.trim().split('\n')])
    })
  })
  after(async () => await cleanup.disposeAsync())

  const gantry = (words: readonly string[]): Promise<Finished> =>
    run(COMMAND, ['--root', workspace.path('gantry'), ...words], { env: workspace.env })

  for (const [topic, lines] of Object.entries(SESSION)) {
    describe(topic, () => {
      before(async () => await emptied())
      for (const [i, line] of lines.entries()) {
        it(`${i + 1}: ${line.words}`, async () => {
          const words = split(line.words)
          const [theirs, ours] = await Promise.all([
            dockerd.ask(words.map((word) => filled(word, 'docker-files'))),
            gantry(words.map((word) => filled(word, 'gantry-files'))),
          ])
          compare(line, theirs, ours)
        })
      }
    })
  }

  const filled = (word: string, folder: string): string =>
    word.replace('IMAGE', image).replace('DIR', workspace.path(folder))

  /** Both begin each topic with nothing. */
  async function emptied(): Promise<void> {
    for (const ask of [(words: readonly string[]) => dockerd.ask(words), gantry]) {
      const { stdout } = await ask(['ps', '-aq'])
      if (stdout !== '') await ask(['rm', '-fv', ...stdout.trim().split('\n')])
      const volumes = await ask(['volume', 'ls', '-q'])
      if (volumes.stdout !== '') await ask(['volume', 'rm', ...volumes.stdout.trim().split('\n')])
    }
  }

  function compare({ difference, unordered }: Line, theirs: Finished, ours: Finished): void {
    const plain = ({ code, stdout }: Finished) => ({
      code,
      stdout: difference ? '' : ordered(withoutIds(stdout), unordered ?? false),
    })
    const said = `docker: ${theirs.stderr}\ngantry: ${ours.stderr}`
    if (difference?.compare !== 'nothing') assert.deepEqual(plain(ours), plain(theirs), said)
    if (!difference) return
    const same = ours.code === theirs.code && withoutIds(ours.stdout) === withoutIds(theirs.stdout)
    assert.ok(!same, `there is no difference any more: ${difference.reason}`)
  }

  const withoutIds = (text: string): string =>
    text
      .replaceAll(workspace.path('docker-files'), 'DIR')
      .replaceAll(workspace.path('gantry-files'), 'DIR')
      .replace(/\b[0-9a-f]{64}\b/g, '<id>')
      .replace(/\b[0-9a-f]{12}\b/g, '<id>')
      .trimEnd()
})

const ordered = (text: string, unordered: boolean): string =>
  unordered ? text.split('\n').toSorted().join('\n') : text

/** Words as a shell would take them, with double quotes and nothing else. */
function split(text: string): readonly string[] {
  return [...text.matchAll(/(?:[^\s"]|"(?:[^"\\]|\\.)*")+/g)].map(([word]) =>
    word.replace(/"((?:[^"\\]|\\.)*)"/g, (_, inner: string) => inner.replace(/\\(["\\])/g, '$1')),
  )
}
