/** The thread of `bcrypt.ts`: answers one question after the other. */
import { parentPort } from 'node:worker_threads'
import { compareSync } from 'bcryptjs'
import type { BcryptAnswer, BcryptQuestion } from './bcrypt.ts'

parentPort?.on('message', ({ id, password, hash }: BcryptQuestion) => {
  parentPort?.postMessage({ id, right: compareSync(password, hash) } satisfies BcryptAnswer)
})
