/** The conformance suite of the distribution specification: at which settings, and what its report says. */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'yaml'
import { z } from 'zod'
import { installGoTool } from './support/go-tools.ts'

const RUN_TIMEOUT_MS = 5 * 60_000

/** `dev` turns on what is newer than 1.1.1; the rest is every switch that is off or could be turned off. */
const STRICTEST = {
  OCI_VERSION: 'dev',
  OCI_API_PULL: 'true',
  OCI_API_PUSH: 'true',
  OCI_API_REFERRER: 'true',
  OCI_API_TAGS_LIST: 'true',
  OCI_API_TAGS_DELETE: 'true',
  OCI_API_TAGS_ATOMIC: 'true',
  OCI_API_MANIFESTS_DELETE: 'true',
  OCI_API_MANIFESTS_ATOMIC: 'true',
  OCI_API_MANIFESTS_DIGEST_HEADER: 'true',
  OCI_API_MANIFESTS_TAG_PARAM: 'true',
  OCI_API_BLOBS_DELETE: 'true',
  OCI_API_BLOBS_ATOMIC: 'true',
  OCI_API_BLOBS_DIGEST_HEADER: 'true',
  OCI_API_BLOBS_MOUNT_ANONYMOUS: 'true',
  OCI_API_BLOBS_UPLOAD_CANCEL: 'true',
  OCI_DATA_SPARSE: 'true',
} as const

const Results = z.looseObject({
  apis: z.record(z.string(), z.string()),
  data: z.record(z.string(), z.string()),
})

interface SuiteTest {
  /** `OCI Conformance Test/sha256 blobs/mount/blob-mount` */
  readonly name: string
  readonly status: 'passed' | 'skipped' | 'failure' | 'error'
}

export interface SuiteReport {
  /** What the suite prints for people: every test with its status, failures with their reasons. */
  readonly text: string
  /** Endpoint or behaviour → Pass, Skip, FAIL, Disabled, Error. */
  readonly apis: Readonly<Record<string, string>>
  /** Kind of content → the same. */
  readonly data: Readonly<Record<string, string>>
  /** Every test of the report; what is switched off by configuration is `skipped`, too. */
  readonly tests: readonly SuiteTest[]
}

/**
 * Runs the suite against `host` (`127.0.0.1:5000`); its files (`results.yaml`, `junit.xml`, `report.html`) go to `directory`.
 * A registry that fails is a report, not an error.
 */
export async function runUpstreamSuite(
  host: string,
  directory: string,
  settings: Readonly<Record<string, string>> = STRICTEST,
): Promise<SuiteReport> {
  const program = await installGoTool('conformance')
  const env = {
    PATH: process.env['PATH'],
    OCI_TLS: 'disabled',
    OCI_LOG: 'error',
    OCI_REGISTRY: host,
    OCI_REPO1: 'conformance/a',
    OCI_REPO2: 'conformance/b',
    OCI_RESULTS_DIR: '.',
    ...settings,
  }
  const text = await new Promise<string>((resolve, reject) => {
    execFile(
      program,
      { cwd: directory, env, timeout: RUN_TIMEOUT_MS, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        // Its exit status is 1 for anything but Pass; only when it could not even report is there something to throw.
        if (error && (error.killed || stdout === ''))
          reject(new Error(`the suite did not finish: ${stderr}`, { cause: error }))
        else resolve(stdout)
      },
    )
  })
  const { apis, data } = Results.parse(parse(await readFile(join(directory, 'results.yaml'), 'utf8')))
  return { text, apis, data, tests: testsOf(await readFile(join(directory, 'junit.xml'), 'utf8')) }
}

/** What the suite objects to or did not try, one line each; nothing is what a registry wants to hear. */
export function objections(report: SuiteReport): readonly string[] {
  const tables = { ...report.apis, ...report.data }
  return [
    ...Object.entries(tables).flatMap(([what, status]) => (status === 'Pass' ? [] : [`${status}: ${what}`])),
    ...report.tests.flatMap(({ name, status }) => (status === 'passed' ? [] : [`${status}: ${name}`])),
  ]
}

/** The leaves of the report. The writer escapes what it quotes, so that a line of output cannot look like a test. */
function testsOf(junit: string): SuiteTest[] {
  const tests = [...junit.matchAll(/<testcase name="([^"]*)"[^>]* status="(passed|skipped|failure|error)"/g)].map(
    ([, name = '', status]) => ({ name, status: status as SuiteTest['status'] }),
  )
  const written = junit.match(/<testcase /g)?.length ?? 0
  if (tests.length !== written) throw new Error(`${written - tests.length} tests of the report cannot be read`)
  return tests
}
