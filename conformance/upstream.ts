/** The conformance suite of the distribution specification: at which settings, and what its report says. */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'yaml'
import { z } from 'zod'
import { installGoTool } from './support/go-tools.ts'

/** The pinned suite has 830; a report of fewer says that it did not ask all. */
export const LEAST_TESTS = 830

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

/** What a registry that takes no pushes can be asked: all of pull, tag lists and referrers. */
const READ_ONLY = {
  ...STRICTEST,
  OCI_API_PUSH: 'false',
  OCI_API_TAGS_DELETE: 'false',
  OCI_API_MANIFESTS_DELETE: 'false',
  OCI_API_BLOBS_DELETE: 'false',
  OCI_API_BLOBS_UPLOAD_CANCEL: 'false',
  // The suite looks for the header in an answer that it keeps only if it knows the content, which it does not here.
  OCI_API_MANIFESTS_DIGEST_HEADER: 'false',
  OCI_API_BLOBS_DIGEST_HEADER: 'false',
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
  settings: Readonly<Record<string, string>> = {},
): Promise<SuiteReport> {
  return await readReport(await printed(host, directory, { ...STRICTEST, ...settings }), directory)
}

/** The report of a suite that printed `text` and wrote its files to `directory`. */
export async function readReport(text: string, directory: string): Promise<SuiteReport> {
  const { apis, data } = Results.parse(parse(await readFile(join(directory, 'results.yaml'), 'utf8')))
  return { text, apis, data, tests: testsOf(await readFile(join(directory, 'junit.xml'), 'utf8')) }
}

/** What of the registry's content the suite is told to look for: tags, and digests of manifests, blobs and subjects. */
interface Known {
  readonly tags: readonly string[]
  readonly manifests: readonly string[]
  readonly blobs: readonly string[]
  readonly subjects: readonly string[]
}

/** Asks a registry that takes no pushes for what is `known` to be in `conformance/a`: the statuses by the names of the tests. */
export async function runReadOnlySuite(host: string, directory: string, known: Known): Promise<ReadOnlyReport> {
  const text = await printed(host, directory, {
    ...READ_ONLY,
    OCI_RO_DATA_TAGS: known.tags.join(' '),
    OCI_RO_DATA_MANIFESTS: known.manifests.join(' '),
    OCI_RO_DATA_BLOBS: known.blobs.join(' '),
    OCI_RO_DATA_REFERRERS: known.subjects.join(' '),
  })
  // Where nothing may be pushed, the pinned suite prints its report and then crashes before it writes the files.
  const lines = text.matchAll(/^ *OCI Conformance Test\/(.+): (Pass|Skip|FAIL|Disabled|Error)$/gm)
  return { text, tests: [...lines].map(([, name = '', status = '']) => ({ name, status })) }
}

interface ReadOnlyReport {
  readonly text: string
  readonly tests: readonly { readonly name: string; readonly status: string }[]
}

async function printed(host: string, directory: string, settings: Readonly<Record<string, string>>): Promise<string> {
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
  return await new Promise<string>((resolve, reject) => {
    execFile(
      program,
      { cwd: directory, env, timeout: RUN_TIMEOUT_MS, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        // Its exit status is not 0 for anything but Pass; only when it could not even report is there something to throw.
        if (error && (error.killed || stdout === ''))
          reject(new Error(`the suite did not finish: ${stderr}`, { cause: error }))
        else resolve(stdout)
      },
    )
  })
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
