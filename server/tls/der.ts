/** DER (X.690): as much of it as a certificate is written with. */

export const sequence = (...parts: readonly Uint8Array[]): Buffer => tagged(0x30, ...parts)
export const set = (...parts: readonly Uint8Array[]): Buffer => tagged(0x31, ...parts)
export const octets = (...parts: readonly Uint8Array[]): Buffer => tagged(0x04, ...parts)
export const utf8 = (text: string): Buffer => tagged(0x0c, Buffer.from(text, 'utf8'))
export const yes = (): Buffer => tagged(0x01, Buffer.from([0xff]))
/** `[number]` around what has a tag itself, and in place of the tag of what is a string. */
export const explicit = (number: number, ...parts: readonly Uint8Array[]): Buffer => tagged(0xa0 + number, ...parts)
export const implicit = (number: number, content: Uint8Array): Buffer => tagged(0x80 + number, content)

/** Not negative. */
export const integer = (bigEndian: Uint8Array): Buffer =>
  tagged(0x02, ...((bigEndian[0] ?? 0) & 0x80 ? [Buffer.from([0])] : []), bigEndian)

export const bits = (content: Uint8Array, unused = 0): Buffer => tagged(0x03, Buffer.from([unused]), content)

export function objectId(dotted: string): Buffer {
  const [first = 0, second = 0, ...arcs] = dotted.split('.').map(Number)
  return tagged(0x06, Buffer.from([first * 40 + second, ...arcs.flatMap(base128)]))
}

function base128(arc: number): number[] {
  const digits = [arc & 0x7f]
  for (let rest = Math.floor(arc / 128); rest > 0; rest = Math.floor(rest / 128)) digits.unshift((rest & 0x7f) | 0x80)
  return digits
}

/** RFC 5280 section 4.1.2.5: two digits for the year until 2049, four from then on; whole seconds. */
export function time(at: Date): Buffer {
  const digits = `${at.toISOString().replaceAll(/[-:T]|\.\d+/g, '')}` // YYYYMMDDHHMMSSZ
  return at.getUTCFullYear() < 2050
    ? tagged(0x17, Buffer.from(digits.slice(2), 'latin1'))
    : tagged(0x18, Buffer.from(digits, 'latin1'))
}

function tagged(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts)
  return Buffer.concat([Buffer.from([tag, ...lengthOf(content)]), content])
}

function lengthOf({ length }: Uint8Array): number[] {
  if (length < 0x80) return [length]
  const bytes: number[] = []
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256)
  return [0x80 + bytes.length, ...bytes]
}
