/** From a registry's name to requests to it, as this user makes them: with their credentials, their certificates, through their proxy. */
import { credentialFor, type Environment } from './credentials.ts'
import { certificateFolders, hostCertificates } from './host-certificates.ts'
import { proxySettings } from './proxies.ts'
import { RegistryRepository } from './registry.ts'
import { Transport, type TransportOptions } from './transport.ts'
import { journalFolder, UploadFiles } from './upload-journal.ts'

export interface AccessOptions {
  readonly plainHttp?: boolean | undefined
  readonly environment?: Environment
  readonly transport?: TransportOptions
}

/** `repository`: for which of a user's credentials, where they have several for one registry. */
export async function openTransport(
  registry: string,
  options: AccessOptions = {},
  repository = '',
): Promise<Transport> {
  const environment = options.environment ?? process.env
  return new Transport(registry, {
    plainHttp: options.plainHttp ?? false,
    certificates: await hostCertificates(certificateFolders(registry, environment)),
    credential: () => credentialFor(registry, environment, repository),
    proxies: proxySettings(environment),
    ...options.transport,
  })
}

export async function openRepository(
  registry: string,
  repository: string,
  options: AccessOptions = {},
): Promise<RegistryRepository> {
  const journal = new UploadFiles(journalFolder(options.environment ?? process.env))
  return new RegistryRepository(await openTransport(registry, options, repository), repository, { journal })
}
