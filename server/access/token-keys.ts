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
import { setTimeout as delay } from 'node:timers/promises'
import type { SigningKeys, StoredSigningKey } from '../../storage/signing-keys.ts'

/** A token is verified with that of its key, whatever it says itself. */
export const ALGORITHMS = ['ES256', 'RS256'] as const
export type TokenAlgorithm = (typeof ALGORITHMS)[number]

/** Every process looks for new keys this often. */
export const REFRESH_MS = 30_000
/** A token with a key that we do not know may be from a replica that has just begun: so we look, but once for all who make one up meanwhile. */
const LOOK_AGAIN_MS = 1_000

export class SecretWrong extends Error {
  override readonly name = 'SecretWrong'
}

export class SigningKeyUnusable extends Error {
  override readonly name = 'SigningKeyUnusable'
}

export interface VerifyingKey {
  readonly publicKey: KeyObject
  readonly algorithm: TokenAlgorithm
}

interface SigningKey {
  readonly kid: string
  readonly privateKey: KeyObject
  readonly algorithm: TokenAlgorithm
}

interface Loaded extends VerifyingKey {
  readonly stored: StoredSigningKey
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
  #signing: SigningKey | undefined
  #lookedAtMs = Number.NEGATIVE_INFINITY
  #looking: Promise<void> | undefined
  #nextLook: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined

  private constructor(keys: SigningKeys, secret: string | undefined, longestTokenMs: number) {
    this.#keys = keys
    this.#secret = secret
    this.#longestTokenMs = longestTokenMs
  }

  /** Makes the first key of a store. `longestTokenMs`: what a key may have to be believed for after it signed last. Throws `SecretWrong`. */
  static async open(
    keys: SigningKeys,
    secret: string | undefined,
    longestTokenMs: number,
    refreshMs = REFRESH_MS,
  ): Promise<TokenKeys> {
    const opened = new TokenKeys(keys, secret, longestTokenMs)
    await opened.#look()
    if (!opened.#signing) {
      await keys.add(newSigningKey(secret))
      await opened.#look()
    }
    opened.#timer = setInterval(() => void opened.#look().catch(() => {}), refreshMs).unref() // the next look may find it
    return opened
  }

  close(): void {
    clearInterval(this.#timer)
  }

  get signing(): SigningKey {
    if (!this.#signing) throw new Error('no key signs: `gantry keys rotate` makes one')
    return this.#signing
  }

  /** `kid` is what somebody else wrote: it is compared with what we have, and nothing else is done with it. */
  async find(kid: string): Promise<VerifyingKey | undefined> {
    if (!this.#loaded.has(kid)) await this.#lookAgain()
    const key = this.#loaded.get(kid)
    return key && key.believedUntilMs > Date.now() ? key : undefined
  }

  /** The public parts of all that are believed, those that will sign soon included. */
  jwks(): readonly Jwk[] {
    return [...this.#loaded.values()]
      .filter(({ believedUntilMs }) => believedUntilMs > Date.now())
      .map(({ stored, publicKey, algorithm }) => ({
        ...publicKey.export({ format: 'jwk' }),
        kid: stored.kid,
        alg: algorithm,
        use: 'sig',
      }))
  }

  /** Of a store's first two processes each may have made a key, and looked before the other's was there: a look that began earlier does not do. */
  #lookAgain(): Promise<void> {
    this.#nextLook ??= (async () => {
      await delay(Math.max(0, this.#lookedAtMs + LOOK_AGAIN_MS - performance.now()))
      while (this.#looking) await this.#looking.catch(() => {}) // the next one says whether they can be read
      this.#nextLook = undefined
      await this.#look()
    })()
    return this.#nextLook
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
    const live = all.filter(({ revokedAt, algorithm }) => revokedAt === undefined && isKnown(algorithm))
    const loaded = live.map((stored, index): Loaded => {
      const next = live[index + 1]
      const believedUntilMs = next ? Date.parse(next.signsFrom) + this.#longestTokenMs : Number.POSITIVE_INFINITY
      const algorithm = stored.algorithm as TokenAlgorithm
      return { stored, publicKey: createPublicKey(stored.publicKey), algorithm, believedUntilMs }
    })
    // The newest that is old enough; when the only ones left are young, one of them rather than none.
    const signs = live.findLast(({ signsFrom }) => Date.parse(signsFrom) <= Date.now()) ?? live[0]
    const privateKey = signs && createPrivateKey(opened(signs, this.#secret))
    this.#signing = signs && privateKey && { kid: signs.kid, privateKey, algorithm: signs.algorithm as TokenAlgorithm }
    this.#loaded = new Map(loaded.map((key) => [key.stored.kid, key]))
  }
}

const isKnown = (algorithm: string): boolean => ALGORITHMS.includes(algorithm as TokenAlgorithm)

export function generateSigningKey(algorithm: TokenAlgorithm): KeyObject {
  if (algorithm === 'ES256') return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  return generateKeyPairSync('rsa', { modulusLength: 3072 }).privateKey
}

/** One that was made elsewhere, in PEM. Throws `SigningKeyUnusable`. */
export function parseSigningKey(pem: string): KeyObject {
  try {
    const key = createPrivateKey(pem)
    algorithmOf(key)
    return key
  } catch (cause) {
    if (cause instanceof SigningKeyUnusable) throw cause
    throw new SigningKeyUnusable('it is no private key in PEM without passphrase', { cause })
  }
}

function algorithmOf({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): TokenAlgorithm {
  if (type === 'ec' && details?.namedCurve === 'prime256v1') return 'ES256'
  if (type === 'rsa' && (details?.modulusLength ?? 0) >= 2048) return 'RS256'
  throw new SigningKeyUnusable(
    `found a key of the type ${type} (${details?.namedCurve ?? `${details?.modulusLength} bits`}), expected one on P-256, or RSA with 2048 bits or more`,
  )
}

/** `publishedForMs`: how long others sign, so that everybody has seen this one before a token of it comes. */
export function newSigningKey(
  secret: string | undefined,
  { privateKey = generateSigningKey('ES256'), publishedForMs = 0 } = {},
): StoredSigningKey {
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const kid = randomUUID()
  const now = Date.now()
  return {
    kid,
    algorithm: algorithmOf(privateKey),
    publicKey: createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }).toString(),
    privateKey: secret === undefined ? pem : sealed(pem, kid, secret),
    createdAt: new Date(now).toISOString(),
    signsFrom: new Date(now + publishedForMs).toISOString(),
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
