/** What a request says about who sent it: the header `Authorization`, taken apart and not believed. */

export type Credentials =
  | { readonly scheme: 'none' }
  | { readonly scheme: 'basic'; readonly login: string; readonly secret: string }
  | { readonly scheme: 'bearer'; readonly token: string }
  | { readonly scheme: 'unusable'; readonly reason: string }

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/

export function parseAuthorization(header: string): Credentials {
  if (header === '') return { scheme: 'none' }
  const [, scheme = '', rest = ''] = /^([A-Za-z]+) +(.*)$/s.exec(header) ?? []
  switch (scheme.toLowerCase()) {
    case 'basic':
      return parseBasic(rest.trim())
    case 'bearer':
      return { scheme: 'bearer', token: rest.trim() }
    default:
      return { scheme: 'unusable', reason: 'the header Authorization has neither Basic nor Bearer credentials' }
  }
}

function parseBasic(text: string): Credentials {
  const decoded = BASE64.test(text) ? Buffer.from(text, 'base64').toString('utf8') : ''
  const colon = decoded.indexOf(':')
  if (colon < 0) {
    return { scheme: 'unusable', reason: 'Basic credentials are not base64 of a name, a colon and a password' }
  }
  if (decoded === ':') return { scheme: 'none' } // what clients send that were told neither
  return { scheme: 'basic', login: decoded.slice(0, colon), secret: decoded.slice(colon + 1) }
}
