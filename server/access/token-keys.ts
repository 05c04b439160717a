/**
 * The keys that sign tokens. They are records of the store, so that every replica believes what another one signed. A new key is
 * published first and signs later; an old one is believed as long as the longest token that it may have signed. With a secret the
 * private parts are stored encrypted.
 */
import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hkdfSync,
  type JsonWebKey,
  type KeyObject,
  randomBytes,
  randomUUID,
} from 'node:crypto'
import type { SigningKeys, StoredSigningKey } from '../../storage/signing-keys.ts'

export const ALGORITHM = 'ES256'
/** Every process looks for new keys this often. */
const REFRESH_MS = 30_000
/** From the publication of a key to its first use: everybody has looked twice. */
const PUBLISHED_FOR_MS = 2 * REFRESH_MS
/** A token with a key that we do not know may be from a replica that has just begun: so we look, but not for everybody who makes one up. */
const LOOK_AGAIN_MS = 1_000

export class SecretWrong extends Error {
  override readonly name = 'SecretWrong'
}

interface Loaded {
  readonly stored: StoredSigningKey
  readonly publicKey: KeyObject
  /** Of the last moment when a token of this key may be good. */
  readonly believedUntilMs: number
}

export interface Jwk extends JsonWebKey {
  readonly kid: string
  readonly alg: string
  readonly use: 'sig'
}

export class TokenKeys {
  readonly #keys: SigningKeys
  readonly #secret: string | undefined
  readonly #longestTokenMs: number
  #loaded: ReadonlyMap<string, Loaded> = new Map()
  #signing: { readonly kid: string; readonly privateKey: KeyObject } | undefined
  #lookedAtMs = Number.NEGATIVE_INFINITY
  #looking: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined

  private constructor(keys: SigningKeys, secret: string | undefined, longestTokenMs: number) {
    this.#keys = keys
    this.#secret = secret
    this.#longestTokenMs = longestTokenMs
  }

  /** Makes the first key of a store. `longestTokenMs`: what a key may have to be believed for after it signed last. Throws `SecretWrong`. */
  static async open(keys: SigningKeys, secret: string | undefined, longestTokenMs: number): Promise<TokenKeys> {
    const opened = new TokenKeys(keys, secret, longestTokenMs)
    await opened.#look()
    if (!opened.#signing) {
      await keys.add(newSigningKey(new Date(), secret))
      await opened.#look()
    }
    opened.#timer = setInterval(() => void opened.#look().catch(() => {}), REFRESH_MS).unref() // the next look may find it
    return opened
  }

  close(): void {
    clearInterval(this.#timer)
  }

  get signing(): { readonly kid: string; readonly privateKey: KeyObject } {
    if (!this.#signing) throw new Error('no key signs: `gantry keys rotate` makes one')
    return this.#signing
  }

  /** `kid` is what somebody else wrote: it is compared with what we have, and nothing else is done with it. */
  async find(kid: string): Promise<KeyObject | undefined> {
    if (!this.#loaded.has(kid) && performance.now() - this.#lookedAtMs >= LOOK_AGAIN_MS) await this.#look()
    const key = this.#loaded.get(kid)
    return key && key.believedUntilMs > Date.now() ? key.publicKey : undefined
  }

  /** The public parts of all that are believed, those that will sign soon included. */
  jwks(): readonly Jwk[] {
    return [...this.#loaded.values()]
      .filter(({ believedUntilMs }) => believedUntilMs > Date.now())
      .map(({ stored, publicKey }) => ({
        ...publicKey.export({ format: 'jwk' }),
        kid: stored.kid,
        alg: stored.algorithm,
        use: 'sig',
      }))
  }

  #look(): Promise<void> {
    this.#looking ??= this.#load().finally(() => {
      this.#looking = undefined
    })
    return this.#looking
  }

  async #load(): Promise<void> {
    this.#lookedAtMs = performance.now()
    const all = (await this.#keys.all()).toSorted((a, b) => Date.parse(a.signsFrom) - Date.parse(b.signsFrom))
    const live = all.filter(({ revokedAt }) => revokedAt === undefined)
    const loaded = live.map((stored, index): Loaded => {
      const next = live[index + 1]
      const believedUntilMs = next ? Date.parse(next.signsFrom) + this.#longestTokenMs : Number.POSITIVE_INFINITY
      return { stored, publicKey: createPublicKey(stored.publicKey), believedUntilMs }
    })
    // The newest that is old enough; when the only ones left are young, one of them rather than none.
    const signs = live.findLast(({ signsFrom }) => Date.parse(signsFrom) <= Date.now()) ?? live[0]
    const privateKey = signs && createPrivateKey(opened(signs, this.#secret))
    this.#signing = signs && privateKey && { kid: signs.kid, privateKey }
    this.#loaded = new Map(loaded.map((key) => [key.stored.kid, key]))
  }
}

/** `published`: whether other keys sign until everybody has seen this one. */
export function newSigningKey(now: Date, secret: string | undefined, published = false): StoredSigningKey {
  const { publicKey, privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  const kid = randomUUID()
  const signsFrom = new Date(now.getTime() + (published ? PUBLISHED_FOR_MS : 0)).toISOString()
  return {
    kid,
    algorithm: ALGORITHM,
    publicKey,
    privateKey: secret === undefined ? privateKey : sealed(privateKey, kid, secret),
    createdAt: now.toISOString(),
    signsFrom,
  }
}

const SEALED_SIGN = 'aes-256-gcm:'

const sealingKey = (secret: string, kid: string): Buffer =>
  Buffer.from(hkdfSync('sha256', secret, kid, 'gantry signing key', 32))

function sealed(privateKey: string, kid: string, secret: string): string {
  const iv = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', sealingKey(secret, kid), iv)
  const content = Buffer.concat([cipher.update(privateKey, 'utf8'), cipher.final()])
  return SEALED_SIGN + Buffer.concat([iv, cipher.getAuthTag(), content]).toString('base64')
}

function opened({ kid, privateKey }: StoredSigningKey, secret: string | undefined): string {
  if (!privateKey.startsWith(SEALED_SIGN)) return privateKey
  if (secret === undefined)
    throw new SecretWrong('the signing keys of this store are encrypted: tokens.secret is missing')
  const bytes = Buffer.from(privateKey.slice(SEALED_SIGN.length), 'base64')
  const decipher = createDecipheriv('aes-256-gcm', sealingKey(secret, kid), bytes.subarray(0, 12))
  decipher.setAuthTag(bytes.subarray(12, 28))
  try {
    return Buffer.concat([decipher.update(bytes.subarray(28)), decipher.final()]).toString('utf8')
  } catch (cause) {
    throw new SecretWrong('the signing keys of this store are encrypted with another secret than tokens.secret', {
      cause,
    })
  }
}
