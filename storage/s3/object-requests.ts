/**
 * Requests for one object, past most of the SDK, whose stack of middleware takes the main thread longer than all the rest
 * of a small request. Its signer, its credentials and its connections are used as they are, and where it sends requests to is
 * learnt from the first one. What is no plain success is handed to the stack after all, which says what it means.
 */
import type { Readable } from 'node:stream'
import type {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { masked } from './client.ts'
import { AnswerUnusable } from './failures.ts'

type Command = DeleteObjectCommand | GetObjectCommand | HeadObjectCommand | PutObjectCommand | UploadPartCommand

export interface ObjectRequest {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'DELETE'
  /** With the prefix. */
  readonly key: string
  readonly query?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array
  /** The same for the SDK. */
  command(): Command
}

export interface ObjectAnswer {
  readonly headers: Readonly<Record<string, string>>
  readonly body: Readable
}

interface Sent extends ObjectAnswer {
  readonly statusCode: number
}

/** What of all requests is the same. */
interface Form {
  readonly protocol: string
  readonly hostname: string
  readonly port?: number
  /** Of the path, before the key. */
  readonly before: string
  readonly headers: Readonly<Record<string, string>>
  readonly sign: (request: Parameters<Signer['sign']>[0]) => ReturnType<Signer['sign']>
}

type Signer = Awaited<ReturnType<S3Client['config']['signer']>>

export class ObjectRequests {
  readonly #client: S3Client
  #form: Form | undefined

  constructor(client: S3Client) {
    this.#client = client
  }

  /** Resolves when the answer begins, which is a success; throws what the SDK throws. */
  async send(request: ObjectRequest, signal?: AbortSignal): Promise<ObjectAnswer> {
    const form = this.#form
    if (!form) return await this.#bySdk(request, undefined, signal)
    const answer = await this.#send(form, request, signal)
    return answer.statusCode < 300 ? answer : await this.#bySdk(request, answer, signal)
  }

  async #send(form: Form, { method, key, query = {}, body, ...request }: ObjectRequest, signal?: AbortSignal) {
    const { protocol, hostname, port, before, sign } = form
    const path = before + encoded(key)
    const headers = { ...form.headers, ...request.headers }
    const where = { protocol, hostname, ...(port === undefined ? {} : { port }) }
    try {
      const signed = await sign({ ...where, method, path, query, headers, ...(body ? { body } : {}) })
      const options = signal === undefined ? {} : { abortSignal: signal }
      const { response } = await this.#client.config.requestHandler.handle(signed as never, options)
      return response as Sent
    } catch (error) {
      throw await masked(error, this.#client.config.credentials)
    }
  }

  /** With an answer that is here, nothing is sent. */
  async #bySdk(request: ObjectRequest, answered: Sent | undefined, signal?: AbortSignal): Promise<ObjectAnswer> {
    const command = request.command() as GetObjectCommand // which of them makes no difference here
    let answer: Sent | undefined
    command.middlewareStack.add(
      (next) => async (args) => {
        this.#form ??= await this.#formOf(args.request as SignedRequest, request.key)
        if (answered) return { response: answered } as never
        const result = await next(args)
        answer = result.response as Sent
        return result
      },
      { step: 'deserialize', priority: 'low', name: 'seen' },
    )
    await this.#client.send(command, signal === undefined ? {} : { abortSignal: signal })
    if (!answer) throw new AnswerUnusable(`an answer of status ${answered?.statusCode ?? 0} is no failure either`)
    return answer
  }

  /** `undefined` of a bucket that is addressed, or signed for, in another way than S3's usual one: then every request goes through the SDK. */
  async #formOf({ protocol, hostname, port, path, headers }: SignedRequest, key: string): Promise<Form | undefined> {
    const [, signingRegion, signingName] = CREDENTIAL.exec(headers['authorization'] ?? '') ?? []
    const { host, 'user-agent': agent } = headers
    if (signingRegion === undefined || signingName !== 's3' || host === undefined) return undefined
    if (!path.endsWith(`/${encoded(key)}`)) return undefined
    const { config } = this.#client
    const signer = await config.signer({ name: 'sigv4', signingName, signingRegion, properties: {} })
    return {
      protocol,
      hostname,
      ...(port === undefined ? {} : { port }),
      before: path.slice(0, path.length - encoded(key).length),
      headers: { host, ...(agent === undefined ? {} : { 'user-agent': agent }) },
      sign: (request) => {
        // As far as it has learnt from the server that our clock is wrong.
        const signingDate = new Date(Date.now() + config.systemClockOffset)
        return signer.sign(request, { signingDate, signingRegion, signingService: signingName })
      },
    }
  }
}

interface SignedRequest {
  readonly protocol: string
  readonly hostname: string
  readonly port?: number
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
}

const CREDENTIAL = /^AWS4-HMAC-SHA256 Credential=[^,]+\/\d{8}\/([^/]+)\/([^/]+)\/aws4_request,/

/** RFC 3986, as S3 wants it signed: more than `encodeURIComponent` does, but for the slashes. */
const encoded = (key: string): string => key.split('/').map(encodedComponent).join('/')

const encodedComponent = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)
