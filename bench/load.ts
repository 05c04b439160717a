/** The load generator (`load/`, in Go: one in Node would be slower than what it measures), built once a run. */
import { execFile, spawn } from 'node:child_process'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { z } from 'zod'

const BUILD_TIMEOUT_MS = 5 * 60_000

interface JobBase {
  readonly address: string
  readonly connections: number
  readonly seconds: number
}
export type Load =
  | {
      readonly scenario: 'request'
      readonly method: 'GET' | 'HEAD'
      readonly path: string
      readonly headers?: Readonly<Record<string, string>>
      readonly most?: number
    }
  | {
      readonly scenario: 'put' | 'chunked' | 'push'
      readonly repository: string
      readonly sizeBytes: number
      readonly chunkBytes?: number
      readonly most: number
      readonly seed: number
    }

const Result = z.object({
  operations: z.number(),
  seconds: z.number(),
  p50Ms: z.number(),
  p99Ms: z.number(),
  cpuSeconds: z.number(),
})
export type LoadResult = z.infer<typeof Result>

/** Resolves to the executable, in `folder`. */
export async function buildLoad(folder: string): Promise<string> {
  const executable = join(folder, 'load')
  const cwd = join(import.meta.dirname, 'load')
  await promisify(execFile)('go', ['build', '-o', executable, '.'], { cwd, timeout: BUILD_TIMEOUT_MS })
  return executable
}

/** Throws with what the program said if the server refused anything. */
export async function putLoad(executable: string, job: JobBase & Load): Promise<LoadResult> {
  const child = spawn(executable, { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.end(JSON.stringify(job))
  const output = await text(child.stdout)
  if (output === '') throw new Error(`the load could not be put: ${JSON.stringify(job)}`)
  return Result.parse(JSON.parse(output))
}
