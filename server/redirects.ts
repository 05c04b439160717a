/** Whether a client is sent on to where the content lies: after it was allowed to have it, and never with its credentials. */
import type { Digest } from '../storage/model/digest.ts'
import type { Repository } from '../storage/store.ts'
import type { Origins } from './access/origin.ts'
import type { Context } from './routing.ts'

/** With less than this, one more connection takes the client longer than it saves anybody. */
const AUTO_BYTES = 1024 * 1024

export class Redirects {
  readonly #policy: 'auto' | 'always'
  readonly #origins: Origins

  constructor(policy: 'auto' | 'always', origins: Origins) {
    this.#policy = policy
    this.#origins = origins
  }

  /** `undefined` for what the registry sends itself. Throws `BlobUnknown`. */
  async of(ctx: Context, repository: Repository, digest: Digest): Promise<URL | undefined> {
    const url = await repository.locateBlob(digest, this.#policy === 'auto' ? AUTO_BYTES : 0)
    if (!url) return undefined
    const own = new URL(this.#origins.of(ctx.req).url)
    if (ctx.get('Authorization') !== '' && keepsCredentials(own.hostname, url.hostname)) return undefined
    if (this.#policy === 'auto' && own.protocol === 'https:' && url.protocol !== 'https:') return undefined // who encrypts means it
    return url
  }
}

/**
 * Go's clients, docker among them, drop `Authorization` on the way to another host, but not to the same name at another port, nor to a
 * name below it. S3 servers refuse a request with two kinds of credentials, and these are none of the bucket's business.
 */
const keepsCredentials = (from: string, to: string): boolean => to === from || to.endsWith(`.${from}`)
