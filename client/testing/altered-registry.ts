/** A real registry that sometimes answers as a test wants it to: how one is played that is hostile in one thing, and right in all others. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import type { Answer, ServedApp } from '../../server/testing/served-app.ts'
import { type ScriptedRegistry, scriptedRegistry } from './scripted-registry.ts'

/** `real` is what the registry says, and reads the request's body; resolves to whether all has been said that there is to say. */
export type Alteration = (
  request: IncomingMessage,
  response: ServerResponse,
  real: () => Promise<Answer>,
) => Promise<boolean> | boolean

export async function alteredRegistry(app: ServedApp, alter: Alteration): Promise<ScriptedRegistry> {
  return await scriptedRegistry(async (request, response) => {
    const { method = '', url = '' } = request
    const real = async (): Promise<Answer> => {
      const body = await buffer(request)
      const headers = request.headers as Readonly<Record<string, string>>
      return await app.ask(method, url, method === 'GET' || method === 'HEAD' ? { headers } : { headers, body })
    }
    try {
      if (await alter(request, response, real)) return
      const { status, headers, body } = await real()
      response.writeHead(status, headers).end(body)
    } catch {
      response.destroy() // who asked has gone
    }
  })
}
