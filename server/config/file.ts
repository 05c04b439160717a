/** The configuration's YAML file, and the lines where things stand in it, so that a problem can be found by who must solve it. */
import { readFile } from 'node:fs/promises'
import { isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml'

type Path = readonly PropertyKey[]

export interface ConfigFile {
  /** What it says; an empty file says nothing. */
  readonly content: unknown
  /** `FILE:LINE` of the key or list entry at this path, as far as the file goes along it. */
  whereIs(path: Path): string
  /** One a line, each with its place: what keeps the file from being YAML. */
  readonly problems: readonly string[]
}

/** Rejects with the system's error if the file cannot be read. */
export async function readConfigFile(file: string): Promise<ConfigFile> {
  const lineCounter = new LineCounter()
  const document = parseDocument(await readFile(file, 'utf8'), { lineCounter, prettyErrors: false })
  const at = (offset: number): string => `${file}:${lineCounter.linePos(offset).line}`
  const problems = document.errors.map(({ message, pos }) => `${at(pos[0])}: ${message}`)
  return {
    content: problems.length > 0 ? undefined : (document.toJS() as unknown),
    problems,
    whereIs(path) {
      let offset: number | undefined
      let node: unknown = document.contents
      for (const step of path) {
        if (isMap(node)) {
          const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === step)
          if (!isScalar(pair?.key)) break
          offset = pair.key.range?.[0]
          node = pair.value
        } else if (isSeq(node) && typeof step === 'number') {
          node = node.items[step]
          if (isScalar(node)) offset = node.range?.[0]
        } else break
      }
      return offset === undefined ? file : at(offset)
    },
  }
}
