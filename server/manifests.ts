/** Manifests: end-3, 7a, 7b and 9 of the distribution specification, with entity tags for cheap and for safe updates. */
import type { Condition } from '../storage/condition.ts'
import { type Digest, digestOf, parseDigestAlgorithm } from '../storage/model/digest.ts'
import { parseMediaType } from '../storage/model/media-type.ts'
import { parseTag, type Tag } from '../storage/model/reference.ts'
import type { DemandTag, ManifestPush, Store } from '../storage/store.ts'
import { answerBytes, answerEmpty, asBuffer, etagOf, matchesEtag } from './answers.ts'
import { allowEverything } from './authorize.ts'
import { parseCondition } from './conditions.ts'
import { RegistryError } from './errors.ts'
import { readSmallBody } from './request-body.ts'
import type { Authorize, Context, Params } from './routing.ts'
import type { RegistryRules } from './rules.ts'

/** `tag` parameters in one push. */
export const MOST_TAGS = 100

type ManifestParams = Params<'name' | 'reference'>

const isDigest = (reference: Tag | Digest): reference is Digest => reference.includes(':')

/** Whatever `Accept` says: content under a digest cannot be converted, and a refusal would only hide it. */
export const getManifest =
  (store: Store) =>
  async (ctx: Context, { name, reference }: ManifestParams): Promise<void> => {
    const { digest, mediaType, bytes } = await store.repository(name).getManifest(reference)
    const headers = { 'Docker-Content-Digest': digest, ETag: etagOf(digest) }
    const wanted = ctx.get('If-Match')
    if (wanted !== '' && !matchesEtag(wanted, etagOf(digest))) {
      throw new RegistryError('preconditionFailed', { detail: { ifMatch: wanted, found: etagOf(digest) } })
    }
    if (matchesEtag(ctx.get('If-None-Match'), etagOf(digest))) return answerEmpty(ctx, 304, headers)
    answerBytes(ctx, mediaType, asBuffer(bytes), headers)
  }

export const putManifest =
  (store: Store, authorize: Authorize, rules: RegistryRules) =>
  async (ctx: Context, { name, reference }: ManifestParams): Promise<void> => {
    const query = new URLSearchParams(ctx.querystring)
    const extraTags = parseTags(query)
    const found = conditionOf(ctx)
    const condition = found === undefined ? {} : { condition: found }
    const demandTag: DemandTag = (tag, current) =>
      authorize(ctx, current === undefined ? 'create-tag' : 'move-tag', name, tag)
    const by = {
      ...(authorize === allowEverything ? {} : { demandTag }), // where everything is allowed there is nothing to look up
      ...(ctx.state.subject === undefined ? {} : { pushedBy: ctx.state.subject }),
    }
    const mediaType = parseMediaType(ctx.get('Content-Type'))
    const bytes = await readSmallBody(ctx, rules.manifestBytes)
    const algorithm = query.get('digest-algorithm')
    const push: ManifestPush = isDigest(reference)
      ? { mediaType, bytes, digest: reference, tags: extraTags, ...condition, ...by }
      : {
          mediaType,
          bytes,
          ...(algorithm === null ? {} : { digest: digestOf(bytes, parseDigestAlgorithm(algorithm)) }),
          tags: [...new Set([reference, ...extraTags])],
          ...condition,
          ...by,
        }
    const { digest, subject } = await store.repository(name).putManifest(push)

    answerEmpty(ctx, 201, {
      Location: `/v2/${name}/manifests/${isDigest(reference) ? digest : reference}`,
      'Docker-Content-Digest': digest,
      ETag: etagOf(digest),
      ...(subject === undefined ? {} : { 'OCI-Subject': subject }),
      ...(extraTags.length === 0 ? {} : { 'OCI-Tag': extraTags.join(', ') }),
    })
  }

/** Parsed before anything is stored: all of the tags, or none (end-7b). */
function parseTags(query: URLSearchParams): readonly Tag[] {
  const tags = [...new Set(query.getAll('tag'))]
  if (tags.length > MOST_TAGS) {
    throw new RegistryError('tooManyTags', {
      detail: { tags: tags.length, expected: `at most ${MOST_TAGS}; push the rest in further requests` },
    })
  }
  return tags.map(parseTag)
}

const conditionOf = (ctx: Context): Condition | undefined =>
  parseCondition(ctx.get('If-Match'), ctx.get('If-None-Match'))

/** Who deletes a manifest deletes its tags. */
export const deleteManifest =
  (store: Store, authorize: Authorize) =>
  async (ctx: Context, { name, reference }: ManifestParams): Promise<void> => {
    if (!isDigest(reference)) await authorize(ctx, 'delete-tag', name, reference)
    else if (authorize !== allowEverything) {
      for await (const tag of store.repository(name).listTagsOf(reference)) {
        await authorize(ctx, 'delete-tag', name, tag)
      }
    }
    await store.repository(name).deleteManifest(reference, conditionOf(ctx))
    answerEmpty(ctx, 202, {})
  }
