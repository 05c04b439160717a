/** helm: charts as artifacts, with the provenance beside them. */
import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { describe, it } from 'node:test'
import { goTool, notBuilt } from '../support/go-tools.ts'
import { openStage } from './stage.ts'

const helm = goTool('helm')

describe('helm', { skip: await notBuilt('helm') }, () => {
  const stage = openStage()

  it('pushes versions of a chart with their provenance, shows them, and pulls the same bytes', async () => {
    const { registry, workspace } = stage
    const cwd = workspace.path('charts')
    await mkdir(workspace.path('pulled'))
    await mkdir(cwd)
    const run = (...args: string[]): Promise<string> => stage.succeed(helm, args, { cwd })
    const charts = `oci://${registry.host}/charts`
    await run('create', 'demo')
    const digests: string[] = []
    for (const version of ['1.0.0', '1.1.0+build.7']) {
      await run('package', 'demo', '--version', version)
      await writeFile(`${cwd}/demo-${version}.tgz.prov`, `signed ${version}`) // it is not looked into on the way
      const { code, stdout, stderr } = await stage.run(helm, ['push', '--plain-http', `demo-${version}.tgz`, charts], {
        cwd,
      })
      assert.equal(code, 0, stderr)
      const [, digest = ''] = /Digest: (sha256:\w+)/.exec(stdout + stderr) ?? []
      digests.push(digest)
    }

    // A tag cannot hold a plus: helm writes an underscore, and finds it again.
    const shown = await run('show', 'chart', '--plain-http', `${charts}/demo`)
    assert.match(shown, /^version: 1\.1\.0\+build\.7$/m, 'the newest of the tags')
    for (const [index, version] of ['1.0.0', '1.1.0+build.7'].entries()) {
      const pull = ['pull', '--plain-http', '--prov', '--version', version, '-d', workspace.path('pulled')]
      const { code, stdout, stderr } = await stage.run(helm, [...pull, `${charts}/demo`], { cwd })
      assert.equal(code, 0, stderr)
      assert.match(stdout + stderr, new RegExp(`Digest: ${digests[index]}`))
      for (const file of [`demo-${version}.tgz`, `demo-${version}.tgz.prov`]) {
        const [pushed, pulled] = await Promise.all([
          readFile(`${cwd}/${file}`),
          readFile(workspace.path('pulled', file)),
        ])
        assert.ok(pulled.equals(pushed), file)
      }
    }
    const rendered = await run('template', 'release', '--plain-http', '--version', '1.0.0', `${charts}/demo`)
    assert.match(rendered, /helm\.sh\/chart: demo-1\.0\.0/)
  })
})
