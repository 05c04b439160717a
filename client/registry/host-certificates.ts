/**
 * Whom to believe that it is a registry, and how to prove to it who we are: the folders `certs.d` of docker and podman, where
 * operators have put authorities (`*.crt`) and client certificates (`*.cert` beside `*.key`) for each host.
 */
import { readdir, readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'

export interface HostCertificates {
  /** For the error that says that it was not enough. */
  readonly folder: string
  /** PEM, beside those that everybody trusts. */
  readonly authorities: readonly string[]
  readonly client?: { readonly certificate: string; readonly key: string }
}

/** In the order of preference. */
export function certificateFolders(
  registry: string,
  environment: Readonly<Record<string, string | undefined>>,
): readonly string[] {
  const home = environment['XDG_CONFIG_HOME'] || join(environment['HOME'] || homedir(), '.config')
  const roots = [join(home, 'containers'), join(home, 'docker'), '/etc/containers', '/etc/docker']
  return roots.map((root) => join(root, 'certs.d', registry))
}

/** Of the first folder that is there; `undefined` if none is. Throws for one that cannot be read. */
export async function hostCertificates(folders: readonly string[]): Promise<HostCertificates | undefined> {
  for (const folder of folders) {
    try {
      const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return undefined
        throw error
      })
      if (names) return await read(folder, names.toSorted())
    } catch (cause) {
      throw new Error(`cannot read the certificates in ${folder}: ${(cause as Error).message}`, { cause })
    }
  }
  return undefined
}

async function read(folder: string, names: readonly string[]): Promise<HostCertificates> {
  const textOf = (name: string): Promise<string> => readFile(join(folder, name), 'utf8')
  const authorities = await Promise.all(names.filter((name) => name.endsWith('.crt')).map(textOf))
  const [certificate] = names.filter((name) => name.endsWith('.cert'))
  if (certificate === undefined) return { folder, authorities }
  const key = certificate.replace(/cert$/, 'key')
  if (!names.includes(key)) throw new Error(`${certificate} has no ${key} beside it`)
  return { folder, authorities, client: { certificate: await textOf(certificate), key: await textOf(key) } }
}

/** As `node:tls` takes them. */
export const tlsOptions = ({ authorities, client }: HostCertificates) => ({
  ...(authorities.length > 0
    ? { ca: [...process.getBuiltinModule('node:tls').getCACertificates('default'), ...authorities] }
    : {}),
  ...(client ? { cert: client.certificate, key: client.key } : {}),
})
