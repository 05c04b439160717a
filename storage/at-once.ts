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
