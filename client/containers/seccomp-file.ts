/**
 * `--security-opt seccomp=FILE`: a profile in docker's format, which is `linux.seccomp` of the runtime specification and two things more, resolved
 * here: `archMap` instead of `architectures`, and rules that hold only for some architectures, capabilities or kernels.
 */
import { readFile } from 'node:fs/promises'
import { release } from 'node:os'
import { RequestError } from './request-error.ts'
import type { SeccompProfile, SeccompRule } from './seccomp.ts'

interface Filter {
  readonly arches?: readonly string[] | null
  readonly caps?: readonly string[] | null
  readonly minKernel?: string | null
}

type Loaded = Omit<SeccompProfile, 'syscalls' | 'architectures'> & {
  readonly architectures?: readonly string[] | null
  readonly archMap?:
    | readonly { readonly architecture: string; readonly subArchitectures?: readonly string[] | null }[]
    | null
  readonly syscalls?:
    | readonly (SeccompRule & {
        readonly name?: string
        readonly comment?: string
        readonly includes?: Filter
        readonly excludes?: Filter
      })[]
    | null
}

const NATIVE: Readonly<Record<string, string>> = {
  amd64: 'SCMP_ARCH_X86_64',
  '386': 'SCMP_ARCH_X86_64',
  arm64: 'SCMP_ARCH_AARCH64',
  arm: 'SCMP_ARCH_AARCH64',
}

/** Reads and resolves a profile; what is in its rules the runtime judges. Throws `RequestError`. */
export async function readSeccompFile(
  path: string,
  architecture: string,
  capabilities: readonly string[],
): Promise<SeccompProfile> {
  let loaded: Loaded
  try {
    loaded = JSON.parse(await readFile(path, 'utf8')) as Loaded
  } catch (error) {
    throw new RequestError(`the seccomp profile ${path} cannot be read: ${(error as Error).message}`)
  }
  if (typeof loaded !== 'object' || loaded === null || typeof loaded.defaultAction !== 'string')
    throw new RequestError(`the seccomp profile ${path} has no defaultAction: it must be an object in docker's format`)
  const { architectures, archMap, syscalls, ...rest } = loaded
  if (architectures?.length && archMap?.length)
    throw new RequestError(`the seccomp profile ${path} has architectures and archMap: one of them says which hold`)
  const mapped = archMap?.find((each) => each.architecture === NATIVE[architecture])
  const resolved = architectures ?? (mapped && [mapped.architecture, ...(mapped.subArchitectures ?? [])])
  return {
    ...rest,
    ...(resolved ? { architectures: resolved } : {}),
    syscalls: (syscalls ?? []).flatMap(({ name, comment: _, includes, excludes, ...rule }) =>
      holds(includes ?? {}, true) && !holds(excludes ?? {}, false)
        ? [name === undefined ? rule : { ...rule, names: [name] }]
        : [],
    ),
  }

  /** An including filter must have all that it names, an excluding one any. */
  function holds({ arches, caps, minKernel }: Filter, all: boolean): boolean {
    const answers = [
      ...(arches?.length ? [arches.includes(architecture)] : []),
      ...(caps?.length
        ? [all ? caps.every((cap) => capabilities.includes(cap)) : caps.some((cap) => capabilities.includes(cap))]
        : []),
      ...(minKernel ? [!olderThan(release(), minKernel)] : []),
    ]
    return all ? answers.every(Boolean) : answers.some(Boolean)
  }
}

function olderThan(kernel: string, wanted: string): boolean {
  const [major = 0, minor = 0] = kernel.split(/[.-]/).map(Number)
  const [wantedMajor = 0, wantedMinor = 0] = wanted.split('.').map(Number)
  return major !== wantedMajor ? major < wantedMajor : minor < wantedMinor
}
