/** Patterns in which `*` stands for any text, slashes included, and every other character for itself. */

/** Compares in time proportional to pattern times text at worst, whatever both are. */
export function matchesGlob(pattern: string, text: string): boolean {
  let [p, t] = [0, 0]
  let [star, resume] = [-1, 0]
  while (t < text.length) {
    if (pattern[p] === '*') {
      star = p++
      resume = t
    } else if (pattern[p] === text[t]) {
      p++
      t++
    } else if (star >= 0) {
      p = star + 1
      t = ++resume // the last star takes one character more
    } else return false
  }
  while (pattern[p] === '*') p++
  return p === pattern.length
}
