/**
 * Hostile input for the parsers that face the network. A property tries a few cases in every test run, and as many as
 * `GANTRY_FUZZ_RUNS` says in a long one (`npm run fuzz`).
 */
import fc from 'fast-check'

export const fuzzRuns = (usually: number): { readonly numRuns: number } => ({
  numRuns: Number(process.env['GANTRY_FUZZ_RUNS'] ?? usually),
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
