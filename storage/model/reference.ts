/**
 * Names inside a registry (distribution-spec, "Pulling manifests"):
 *
 *     name      ::= component ( "/" component )*                    at most 255 bytes
 *     component ::= alphanumeric ( separator alphanumeric )*
 *     separator ::= "." | "_" | "__" | "-"+                         alphanumeric ::= [a-z0-9]+
 *     tag       ::= [a-zA-Z0-9_] [a-zA-Z0-9._-]{0,127}
 */
import { NameInvalid, TagInvalid } from '../errors.ts'

import type { Digest, ForeignDigest } from './digest.ts'

declare const brand: unique symbol

export type RepositoryName = string & { readonly [brand]: 'RepositoryName' }
export type Tag = string & { readonly [brand]: 'Tag' }

const LONGEST_NAME = 255
const COMPONENT = /^[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*$/
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/

/** Throws `NameInvalid`. */
export function parseRepositoryName(text: string): RepositoryName {
  if (text.length > LONGEST_NAME) throw new NameInvalid('a repository name', text, `at most ${LONGEST_NAME} bytes`)
  if (!text.split('/').every((component) => COMPONENT.test(component))) {
    const expected = 'lower-case letters and digits, separated by one of . _ __ or dashes, in components separated by /'
    throw new NameInvalid('a repository name', text, expected)
  }
  return text as RepositoryName
}

/** Throws `TagInvalid`. */
export function parseTag(text: string): Tag {
  if (!TAG.test(text)) {
    throw new TagInvalid('a tag', text, 'at most 128 letters, digits, _ . and -, the first of them not . or -')
  }
  return text as Tag
}

/** Where clients of registries without referrers list what refers to `subject` (distribution-spec, "Referrers Tag Schema"). */
export function referrersTag(subject: Digest | ForeignDigest): Tag {
  const [algorithm = '', encoded = ''] = subject.split(':')
  return `${algorithm.slice(0, 32)}-${encoded.slice(0, 64)}`.replaceAll(/[^a-zA-Z0-9._-]/g, '-') as Tag
}
