/** For people who type an address without `https://`: a listener that does nothing but say where the registry is. */
import type { RequestListener } from 'node:http'
import { answerText } from '../health.ts'

const HOST = /^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$/

/** `publicUrl`: where the registry is, if the operator said so; else it is on `port` of the host that was asked. */
export const redirectToHttps =
  (publicUrl: string | undefined, port: number): RequestListener =>
  (req, res) => {
    const [, host] = HOST.exec(req.headers.host ?? '') ?? []
    const origin = publicUrl ?? (host === undefined ? undefined : `https://${host}${port === 443 ? '' : `:${port}`}`)
    const path = (req.url ?? '').replace(/^https?:\/\/[^/?#]*/i, '')
    if (origin === undefined || !path.startsWith('/')) {
      return answerText(res, 400, 'this registry speaks HTTPS: use a URL that begins with https://')
    }
    res.setHeader('Location', origin + path)
    res.setHeader('Connection', 'close') // whatever the body is, nobody reads it
    answerText(res, 308, `this registry speaks HTTPS: ${origin}${path}`)
  }
