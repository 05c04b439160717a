/**
 * The user's commands of an installed package, linked by .ci/link.mjs into two files beside this one: each is an object of functions, one for a
 * module, called when it is first required. What V8 has made of them is kept with the functions that a verb has called, which Node's own compile
 * cache leaves out: to compile these again and again was a third of the time of `gantry run`.
 */
'use strict'
const { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } = require('node:fs')
const { posix } = require('node:path')
const { Script } = require('node:vm')

const ENTRY = 'client/cli.js'
/** A command that has run for longer may have dropped what it had compiled. */
const SHORT_SECONDS = 10
const MOST_VERBS = 100
/** What is open and keeps nobody: the process's own streams. */
const IDLE = new Set(['PipeWrap', 'TTYWrap'])

/** Which nearly all commands need soon anyhow. */
const addon = () => require('./native/build/gantry.node')

/** V8 believes what it is given: a byte that a disk has changed would end the process. */
function digestOf(bytes) {
  const hash = new (addon().Hash)(false)
  hash.updateNow([bytes])
  return hash.digestHex()
}

/** One file of modules, and what was kept of it. */
class Linked {
  #kept
  #script
  #verbs = []
  #about

  constructor(name, folder) {
    const path = `${__dirname}/${name}.js`
    const text = readFileSync(path, 'latin1') // it is in ASCII
    this.#kept = `${folder}/${name}`
    this.#about = `${text.slice(0, text.indexOf('\n'))} ${process.version} ${process.arch}` // the first line is a digest of the others
    const cachedData = this.#read()
    this.#script = new Script(text, { filename: path, ...(cachedData ? { cachedData } : {}) })
    if (this.#script.cachedDataRejected) this.#verbs = [] // made with other flags, or on another processor
    this.modules = this.#script.runInThisContext()
  }

  /** Three lines: what it was made of, for which verbs, and the digest of what follows, which is V8's. */
  #read() {
    try {
      const kept = readFileSync(this.#kept)
      const ends = [-1]
      for (let line = 1; line <= 3; line++) ends.push(kept.indexOf('\n', ends[line - 1] + 1))
      const [about, verbs, digest] = [1, 2, 3].map((line) => kept.toString('latin1', ends[line - 1] + 1, ends[line]))
      const code = kept.subarray(ends[3] + 1)
      if (about !== this.#about || digest !== digestOf(code)) return undefined
      this.#verbs = verbs.split(' ')
      return code
    } catch {
      return undefined
    }
  }

  remember(verb) {
    if (this.#verbs.includes(verb) || this.#verbs.length > MOST_VERBS) return
    const temporary = `${this.#kept}.${process.pid}`
    try {
      const code = this.#script.createCachedData()
      const head = `${this.#about}\n${[...this.#verbs, verb].join(' ')}\n${digestOf(code)}\n`
      mkdirSync(posix.dirname(this.#kept), { recursive: true, mode: 0o700 })
      writeFileSync(temporary, Buffer.concat([Buffer.from(head), code]), { mode: 0o600 })
      renameSync(temporary, this.#kept)
    } catch {
      rmSync(temporary, { force: true }) // no home, no room: the next command compiles again
    }
  }
}

/** `folder`: where what is executed is kept, which must be nobody else's. */
function openCommands(folder) {
  const first = new Linked('commands-first', folder)
  let more
  const loaded = new Map()
  const load = (name) => {
    const known = loaded.get(name)
    if (known) return known.exports
    const module = { exports: {} }
    loaded.set(name, module)
    const beside = posix.dirname(name)
    const own = (wanted) => {
      if (wanted === 'commander') return load('commander/index.js')
      return wanted.startsWith('.') ? load(posix.join(beside, wanted).replace(/(\.js)?$/, '.js')) : require(wanted)
    }
    if (!(name in first.modules)) more ??= new Linked('commands-more', folder)
    const run = first.modules[name] ?? more.modules[name]
    run(module.exports, own, module, __dirname)
    return module.exports
  }
  const { runClientCli } = load(ENTRY)
  return {
    runClientCli,
    /** What the verb has called will not have to be compiled again. */
    remember(verb) {
      if (process.uptime() > SHORT_SECONDS || !/^[a-z-]{2,20}$/.test(verb)) return
      first.remember(verb)
      more?.remember(verb)
    },
    /** Ends the process, if nothing keeps it: what Node does last is to take down a heap that nobody needs, for 5 ms. */
    leave(code) {
      const isWatched = process.execArgv.length > 0 || process.env.NODE_OPTIONS || process.env.NODE_V8_COVERAGE // they write something at the end
      const open = process.getActiveResourcesInfo()
      if (isWatched || open.some((kind) => !IDLE.has(kind))) return
      // Who has used neither has nothing to be written; to look at them makes them.
      if (open.length > 0 && process.stdout.writableLength + process.stderr.writableLength > 0) return
      process.emit('exit', code)
      addon().exitNow(code)
    },
  }
}

module.exports = { openCommands }
