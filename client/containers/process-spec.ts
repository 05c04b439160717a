/** What a container executes, and with what around it: docker's rules of entrypoint, command, variables and working directory. Pure. */
import type { ImageProcess } from '../model/image-process.ts'
import type { ProcessRequest } from './request.ts'
import { RequestError } from './request-error.ts'

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** A new entrypoint forgets the image's command, a new command keeps the image's entrypoint. Throws `RequestError`. */
export function processArguments(image: ImageProcess, request: ProcessRequest): readonly string[] {
  const entrypoint =
    request.entrypoint === undefined ? (image.Entrypoint ?? []) : [request.entrypoint].filter((word) => word !== '')
  const inherited = request.entrypoint === undefined ? (image.Cmd ?? []) : []
  const command = request.command && request.command.length > 0 ? request.command : inherited
  const all = [...entrypoint, ...command]
  if (all.length === 0)
    throw new RequestError('no command specified: the image names none, so give one after the image')
  if (all[0] === '') throw new RequestError('exec: "": executable file not found in $PATH', 127)
  return all
}

/** `KEY=VALUE`, each key once: the container's, the image's, the user's, each over the one before. Throws `RequestError`. */
export function processEnvironment(
  image: ImageProcess,
  request: ProcessRequest,
  { hostname, home }: { readonly hostname: string; readonly home: string },
): readonly string[] {
  const variables = new Map<string, string>([
    ['PATH', DEFAULT_PATH],
    ['HOSTNAME', hostname],
  ])
  if (request.terminal) variables.set('TERM', 'xterm')
  for (const assignment of image.Env ?? []) assign(variables, assignment)
  changeEnvironment(variables, request.environment ?? [])
  if (!variables.has('HOME')) variables.set('HOME', home)
  return [...variables].map(([name, value]) => `${name}=${value}`)
}

/** The variables of another process in a container, over those of its first. */
export function execEnvironment(
  env: readonly string[],
  changes: readonly string[],
  terminal: boolean,
): readonly string[] {
  const variables = new Map<string, string>()
  for (const assignment of env) assign(variables, assignment)
  if (terminal && !variables.has('TERM')) variables.set('TERM', 'xterm')
  changeEnvironment(variables, changes)
  return [...variables].map(([name, value]) => `${name}=${value}`)
}

function changeEnvironment(variables: Map<string, string>, assignments: readonly string[]): void {
  for (const assignment of assignments) {
    if (/^=|\0/.test(assignment) || assignment === '')
      throw new RequestError(`invalid environment variable ${JSON.stringify(assignment)}: write NAME=VALUE`)
    if (assignment.includes('=')) assign(variables, assignment)
    else variables.delete(assignment)
  }
}

function assign(variables: Map<string, string>, assignment: string): void {
  const equals = assignment.indexOf('=')
  if (equals > 0) variables.set(assignment.slice(0, equals), assignment.slice(equals + 1))
}

/** Absolute. Throws `RequestError`. */
export function workingDirectory(image: ImageProcess, request: ProcessRequest): string {
  const path = request.workingDirectory || image.WorkingDir || '/'
  if (!path.startsWith('/') || path.includes('\0'))
    throw new RequestError(`the working directory ${JSON.stringify(path)} is invalid: it must be an absolute path`)
  return path
}
