/**
 * Secrets and their hashes. What people choose is hashed slowly (Argon2id; bcrypt is understood, for files made by `htpasswd -B`);
 * what we choose, for robots, is too long to be guessed, so a fast hash keeps it as well. All work is done off the main thread.
 */
import { argon2, createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { verifyBcrypt } from './bcrypt.ts'

const derive = promisify(argon2)

/** OWASP's minimum, and the cost of about one HTTP request of a few megabytes. */
const MEMORY_KIB = 19_456
const PASSES = 2
const ARGON2_FORM = /^\$argon2id\$v=19\$m=([0-9]{1,7}),t=([0-9]{1,3}),p=1\$([A-Za-z0-9+/]{22,64})\$([A-Za-z0-9+/]{43})$/
const BCRYPT_FORM = /^\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}$/
/** 2^15 rounds take seconds: whoever writes such a file blocks themselves. */
const MOST_BCRYPT_COST = 15
/** Longer ones are refused before any work. */
const LONGEST_PASSWORD = 1_024
export const SHORTEST_PASSWORD = 8

const bare = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64').replace(/=+$/, '')

/** In PHC's form: `$argon2id$v=19$m=…,t=…,p=1$salt$hash`. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16)
  const hash = await derived(password, salt, MEMORY_KIB, PASSES)
  return `$argon2id$v=19$m=${MEMORY_KIB},t=${PASSES},p=1$${bare(salt)}$${bare(hash)}`
}

const derived = (password: string, nonce: Uint8Array, memory: number, passes: number): Promise<Buffer> =>
  derive('argon2id', { message: password, nonce, parallelism: 1, tagLength: 32, memory, passes })

/** Whether this can be checked at all: what a line of a file may hold. */
export const isBcrypt = (hash: string): boolean => Number(BCRYPT_FORM.exec(hash)?.[1] ?? 99) <= MOST_BCRYPT_COST

/** False for a hash in no form that we know. */
export async function verifyPassword(password: string, hash: string): Promise<boolean> {
  if (password.length > LONGEST_PASSWORD) return false
  if (isBcrypt(hash)) return await verifyBcrypt(password, hash)
  const [, memory = '', passes = '', salt = '', expected = ''] = ARGON2_FORM.exec(hash) ?? []
  if (expected === '') return false
  const actual = await derived(password, Buffer.from(salt, 'base64'), Number(memory), Number(passes))
  return timingSafeEqual(actual, Buffer.from(expected, 'base64'))
}

/** Known by its form when it turns up where it should not. */
const ROBOT_SECRET_SIGN = 'gantry_'

/** 256 random bits. */
export const newRobotSecret = (): string => ROBOT_SECRET_SIGN + randomBytes(32).toString('base64url')

export const hashRobotSecret = (secret: string): string => `sha256$${createHash('sha256').update(secret).digest('hex')}`

export const verifyRobotSecret = (secret: string, hash: string): boolean => {
  const [actual, expected] = [Buffer.from(hashRobotSecret(secret)), Buffer.from(hash)]
  return actual.length === expected.length && timingSafeEqual(actual, expected)
}
