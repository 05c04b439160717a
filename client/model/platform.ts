/** Which manifest of an index is for this machine: the first that fits (image-spec), an attestation never. */
import { arch } from 'node:process'

export interface Platform {
  readonly os: string
  readonly architecture: string
  readonly variant?: string
}

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' }

export const hostPlatform = (): Platform => normalized({ os: 'linux', architecture: ARCHITECTURES[arch] ?? arch })

/** `OS/ARCHITECTURE[/VARIANT]`, as in `--platform linux/arm64`. */
export const printPlatform = ({ os, architecture, variant }: Platform): string =>
  [os, architecture, variant].filter((part) => part !== undefined && part !== '').join('/')

/** The first that can run on `host`; `undefined` if none can. */
export function choosePlatform<Candidate extends { readonly platform?: Platform | undefined }>(
  candidates: readonly Candidate[],
  host: Platform,
): Candidate | undefined {
  return candidates.find(({ platform }) => platform !== undefined && runsOn(normalized(platform), normalized(host)))
}

/** An arm64 machine runs the older arm variants also; an amd64 machine every level up to its own, and we claim only the lowest. */
function runsOn(image: Platform, host: Platform): boolean {
  if (image.os !== host.os) return false
  if (image.architecture === host.architecture) return variantNumber(image) <= variantNumber(host)
  return host.architecture === 'arm64' && image.architecture === 'arm'
}

function variantNumber({ architecture, variant }: Platform): number {
  if (variant === undefined) return architecture === 'arm64' ? 8 : architecture === 'arm' ? 7 : 1
  return /^v[0-9]$/.test(variant) ? Number(variant.slice(1)) : Number.POSITIVE_INFINITY
}

function normalized({ os, architecture, variant }: Platform): Platform {
  const [spelled, implied] = SPELLINGS[architecture.toLowerCase()] ?? [architecture.toLowerCase()]
  const known = variant || implied
  return { os: os.toLowerCase(), architecture: spelled, ...(known ? { variant: known.toLowerCase() } : {}) }
}

const SPELLINGS: Readonly<Record<string, readonly [string, string?]>> = {
  x86_64: ['amd64'],
  'x86-64': ['amd64'],
  i386: ['386'],
  i686: ['386'],
  aarch64: ['arm64'],
  armhf: ['arm', 'v7'],
  armel: ['arm', 'v6'],
}
