/** What the operator tells the users of the registry: `Warning` headers, which their clients print (distribution-spec, "Warnings"). */

/** Of all Warning headers together. */
const MOST_BYTES = 4096
const TEXT = /^[\x20-\x7e]+$/

/**
 * The values of the headers: code 299, agent `-`, no date, the text as a quoted string. Throws `RangeError`, in a sentence for the operator, for
 * a text that is not printable ASCII and for texts that are too long together.
 */
export function printWarnings(texts: readonly string[]): string[] {
  for (const text of texts) {
    if (!TEXT.test(text)) throw new RangeError(`warning ${JSON.stringify(text)}: expected printable ASCII characters`)
  }
  const values = texts.map((text) => `299 - "${text.replaceAll(/["\\]/g, '\\$&')}"`)
  const bytes = values.reduce((sum, value) => sum + value.length, 0)
  if (bytes > MOST_BYTES) {
    throw new RangeError(`the warnings have ${bytes} bytes: expected at most ${MOST_BYTES}, with 8 for each of them`)
  }
  return values
}
