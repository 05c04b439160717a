/** Reporter of node:test for a serial console, where other things are written, too: one marked line of JSON for each test. */
import type { TestEvent } from 'node:test/reporters'

export const MARK = 'machine-test: '

export interface MachineTest {
  readonly name: string
  readonly file: string
  /** 0: the suites and tests of a file. */
  readonly nesting: number
  readonly passed: boolean
  /** Why it did not run. */
  readonly skip?: string | boolean
  readonly error?: string
}

// biome-ignore lint/style/noDefaultExport: this is how node:test finds a reporter
export default async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue
    const { name, file = '', nesting, skip } = event.data
    const test: MachineTest = { name, file, nesting, passed: event.type === 'test:pass' }
    const error =
      event.type === 'test:fail' ? String(event.data.details.error.cause ?? event.data.details.error) : undefined
    yield `${MARK}${JSON.stringify({ ...test, skip, error })}\n`
  }
}
