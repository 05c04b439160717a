/** The configuration in print: what is in force, and the reference of all keys. */
import { Document, isCollection, stringify } from 'yaml'
import type { ConfigKey } from './key.ts'
import type { EffectiveValue } from './read.ts'

/** YAML that can be used as a file, with each value's origin as a comment; secrets are left out. */
export function printEffective(values: readonly EffectiveValue[]): string {
  const document = new Document({})
  for (const { key, raw, origin } of values) {
    const node = document.createNode(key.secret ? null : raw)
    if (isCollection(node)) node.flow = true // so that the comment stands beside it
    node.comment = key.secret ? ` a secret, from ${origin}` : ` ${origin}`
    document.setIn(key.path, node)
  }
  return document.toString({ lineWidth: 0 })
}

/** A table in Markdown: one row for each key. */
export function printReference(keys: readonly ConfigKey[]): string {
  const rows = keys.map(({ path, variable, flag, initial, doc, secret }) => {
    const names = [`\`${path.join('.')}\``, `\`${variable}\``, ...(flag ? [`\`--${flag[0]}\``] : [])]
    return `| ${names.join('<br>')} | ${secret ? '' : `\`${inline(initial)}\``} | ${doc.replaceAll('|', '\\|')} |`
  })
  return ['| key, variable, flag | default | |', '|---|---|---|', ...rows, ''].join('\n')
}

const inline = (value: unknown): string => stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trimEnd()
