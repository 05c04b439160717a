/**
 * What there is to discover: tags (end-8), referrers (end-12), and the catalog of repositories that docker-era tools
 * ask for. A listing without `n` is streamed whole; a page says with `Link` that there is another one.
 */
import type { Descriptor } from '../storage/model/manifest.ts'
import type { RepositoryName } from '../storage/model/reference.ts'
import type { Page, Store } from '../storage/store.ts'
import { answerBytes } from './answers.ts'
import { allowEverything, isAllowed } from './authorize.ts'
import { nextLink, parsePage, streamListing, takePage } from './pagination.ts'
import type { Authorize, Context, Params } from './routing.ts'

/** A page of referrers ends at whichever comes first: clients read no larger index than they read manifests. */
const REFERRERS_PAGE = 500
const REFERRERS_PAGE_BYTES = 2 * 1024 * 1024
const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'

export const listTags =
  (store: Store) =>
  async (ctx: Context, { name }: Params<'name'>): Promise<void> => {
    const repository = store.repository(name)
    const tags = ctx.querystring === '' ? await repository.tagsAtHand() : undefined
    if (tags) answerBytes(ctx, 'application/json', `{"name":${JSON.stringify(name)},"tags":${printed(tags)}}`)
    else await answerListing(ctx, { name }, 'tags', (page) => repository.listTagParts(page))
  }

const texts = new WeakMap<readonly string[], string>()

/** JSON of a list that may come again and again. */
function printed(list: readonly string[]): string {
  const known = texts.get(list)
  if (known !== undefined) return known
  const text = JSON.stringify(list)
  texts.set(list, text)
  return text
}

/** Those that the caller may pull from: of the others not even the name is told. */
export const listCatalog =
  (store: Store, authorize: Authorize) =>
  async (ctx: Context): Promise<void> => {
    const list = (page: Page): AsyncIterable<RepositoryName> =>
      authorize === allowEverything ? store.listRepositories(page) : listAllowed(ctx, store, authorize, page)
    await answerListing(ctx, {}, 'repositories', (page) => oneByOne(list(page)))
  }

/** Each has to be looked at by itself. */
async function* oneByOne<T>(items: AsyncIterable<T>): AsyncGenerator<readonly [T]> {
  for await (const item of items) yield [item]
}

async function* listAllowed(
  ctx: Context,
  store: Store,
  authorize: Authorize,
  { limit = Number.POSITIVE_INFINITY, last }: Page,
): AsyncGenerator<RepositoryName> {
  let left = limit
  if (left === 0) return
  for await (const name of store.listRepositories(last === undefined ? {} : { last })) {
    if (!(await isAllowed(authorize, ctx, 'list', name))) continue
    yield name
    left -= 1
    if (left === 0) return
  }
}

async function answerListing(
  ctx: Context,
  head: Readonly<Record<string, unknown>>,
  field: string,
  list: (page: Page) => AsyncIterable<readonly string[]>,
): Promise<void> {
  const page = parsePage(new URLSearchParams(ctx.querystring))
  const { limit } = page
  if (limit === undefined) {
    return answerBytes(ctx, 'application/json', await streamListing(head, field, list(page)))
  }
  // One more than asked tells whether there is a next page; also for n=0, which still must say that a repository is unknown.
  const { page: items, more } = await takePage(list({ ...page, limit: limit + 1 }), limit)
  const last = items.at(-1)
  const link = more && last !== undefined ? { Link: nextLink(ctx.path, { n: limit, last }) } : {}
  answerBytes(ctx, 'application/json', JSON.stringify({ ...head, [field]: items }), link)
}

/** Never 404: no referrers are an empty index, of whatever repository and subject. */
export const listReferrers =
  (store: Store) =>
  async (ctx: Context, { name, subject }: Params<'name' | 'subject'>): Promise<void> => {
    const query = new URLSearchParams(ctx.querystring)
    const artifactType = query.get('artifactType') ?? ''
    const last = query.get('last') ?? ''
    const filter = artifactType === '' ? {} : { artifactType }
    const found = store.repository(name).listReferrers(subject, { ...filter, ...(last === '' ? {} : { last }) })
    const { manifests, next } = await takeReferrers(found)

    const body = JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests })
    answerBytes(ctx, INDEX_TYPE, body, {
      ...(artifactType === '' ? {} : { 'OCI-Filters-Applied': 'artifactType' }),
      ...(next === undefined ? {} : { Link: nextLink(ctx.path, { ...filter, last: next }) }),
    })
  }

async function takeReferrers(
  found: AsyncIterable<{ readonly cursor: string; readonly descriptor: Descriptor }>,
): Promise<{ readonly manifests: readonly Descriptor[]; readonly next: string | undefined }> {
  const manifests: Descriptor[] = []
  let bytes = 0
  let cursor: string | undefined
  for await (const item of found) {
    if (manifests.length === REFERRERS_PAGE || bytes > REFERRERS_PAGE_BYTES) return { manifests, next: cursor }
    manifests.push(item.descriptor)
    bytes += JSON.stringify(item.descriptor).length
    cursor = item.cursor
  }
  return { manifests, next: undefined }
}
