/** Work on many things, a few at the same time. */

/**
 * Asks for the next thing only when there is room, so that memory stays bounded. The first failure stops the rest: what
 * runs is waited for, then it is thrown.
 */
export async function forEachAtOnce<T>(
  source: AsyncIterable<T>,
  most: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const running = new Set<Promise<void>>()
  let failure: { readonly error: unknown } | undefined
  for await (const item of source) {
    const one = work(item)
      .catch((error: unknown) => {
        failure ??= { error }
      })
      .finally(() => running.delete(one))
    running.add(one)
    if (running.size >= most) await Promise.race(running)
    if (failure) break
  }
  await Promise.all(running)
  if (failure) throw failure.error
}

/** Both, or the first failure, but not before the other one has ended: whoever is told of it may do something else about the same names. */
export async function bothEnded<A, B>(one: Promise<A>, other: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([one, other])
  return await Promise.all([one, other])
}
