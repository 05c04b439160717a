/**
 * Hostile input for the parsers that face the network. A property tries its usual number of cases where tests are of full
 * size (`GANTRY_TEST_FULL_SIZE`, as in continuous integration), a third of them elsewhere, each time others, and as many as
 * `GANTRY_FUZZ_RUNS` says in a long run (`npm run fuzz`).
 */
import fc from 'fast-check'

const isFullSize = Boolean(process.env['GANTRY_TEST_FULL_SIZE'])

export const fuzzRuns = (usually: number): { readonly numRuns: number } => ({
  numRuns: Number(process.env['GANTRY_FUZZ_RUNS'] ?? (isFullSize ? usually : Math.ceil(usually / 3))),
})

/** Texts of every kind, with `seeds` (what the parser knows, and what it should not) cut, joined, repeated and encoded. */
export function hostileText(...seeds: readonly string[]): fc.Arbitrary<string> {
  const seed = fc.constantFrom(
    ...seeds,
    '',
    '/',
    '..',
    '%2e%2e',
    '%00',
    '\0',
    '\r\n',
    '%',
    '+',
    '"',
    ',',
    '=',
    '-1',
    '99999999999999999999',
    '1e309',
    '__proto__',
    'é',
    '\ud800',
    '\ufeff',
  )
  const piece = fc.oneof(
    { weight: 4, arbitrary: seed },
    fc.string({ maxLength: 12 }),
    fc.string({ unit: 'binary', maxLength: 12 }),
    fc.nat().map(String),
  )
  const joined = fc.array(piece, { maxLength: 6 }).map((pieces) => pieces.join(''))
  const repeated = fc.tuple(piece, fc.integer({ min: 1, max: 3000 })).map(([text, times]) => text.repeat(times))
  return fc.oneof(
    { weight: 6, arbitrary: joined },
    { weight: 1, arbitrary: repeated.map((text) => text.slice(0, 8000)) },
  )
}
