/**
 * `npm run conformance`: runs the upstream suite in the set-ups of `npm test`, keeps its reports under `conformance/results/` in place of
 * the earlier ones, and prints a summary. Exit code 1 if there is anything but Pass.
 */
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setUps } from './set-ups.ts'
import { GO_TOOLS } from './support/go-tools.ts'
import { objections, runUpstreamSuite } from './upstream.ts'

const RESULTS = join(import.meta.dirname, 'results')

const say = (line: string): void => void process.stdout.write(`${line}\n`)

say(`${GO_TOOLS.conformance.package}@${GO_TOOLS.conformance.version}`)
await rm(RESULTS, { recursive: true, force: true })
const directory = await mkdtemp(join(tmpdir(), 'gantry-conformance-'))
try {
  for (const { name, skip, open } of await setUps()) {
    if (skip) {
      say(`${name}: ${skip}`)
      process.exitCode = 1
      continue
    }
    await using setUp = await open(await mkdtemp(join(directory, 'set-up-')))
    const report = await mkdtemp(join(directory, 'report-'))
    const result = await runUpstreamSuite(setUp.host, report, setUp.suite)
    const { tests, apis, data } = result
    const found = objections(result)
    const passed = tests.filter(({ status }) => status === 'passed').length
    const kinds = `${Object.keys(apis).length} endpoints and behaviours, ${Object.keys(data).length} kinds of content`
    say(`${name}: ${passed} of ${tests.length} tests pass; ${kinds}`)
    for (const line of found) say(`  ${line}`)
    if (found.length > 0) process.exitCode = 1
    const kept = join(RESULTS, name.replaceAll(/,? /g, '-').toLowerCase())
    await cp(report, kept, { recursive: true })
    say(`  ${kept}/report.html`)
  }
} finally {
  await rm(directory, { recursive: true, force: true })
}
