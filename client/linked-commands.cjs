/**
 * The user's commands of an installed package, linked by .ci/link.mjs into two files beside this one: each is an object of functions, one for a
 * module, called when something of it is first used. What V8 has made of them is kept for each verb, with the functions that it has called, which
 * Node's own compile cache leaves out: to compile these again and again was a third of the time of `gantry run`.
 */
'use strict'
const { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } = require('node:fs')
const { posix } = require('node:path')
const { Script } = require('node:vm')

const ENTRY = 'client/cli.js'
/** A command that has run for longer may have dropped what it had compiled. */
const SHORT_SECONDS = 10
/** One command in so many, by the clock, looks whether it has called more than what was kept for its verb: it may have been of an odd case. */
const LOOK_EACH = 16
const MUCH_MORE = 1.02
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

/**
 * Stands for a module until something of it is used: most of what a verb's modules import it has no use for, and some of Node's own take
 * milliseconds.
 */
function whenUsed(load) {
  let module
  const loaded = () => {
    module ??= load()
    return module
  }
  return new Proxy(
    {},
    {
      get: (_, name) => loaded()[name],
      has: (_, name) => name in loaded(),
      ownKeys: () => Reflect.ownKeys(loaded()),
      getOwnPropertyDescriptor(_, name) {
        const known = Reflect.getOwnPropertyDescriptor(loaded(), name)
        return known && { ...known, configurable: true } // what a stand-in has not got itself may not be said to be fixed
      },
    },
  )
}

/** One file of modules, and what was kept of it for a verb. */
class Linked {
  #kept
  #script
  #keptBytes = 0
  #about

  constructor(name, folder, verb) {
    const path = `${__dirname}/${name}.js`
    const text = readFileSync(path, 'latin1') // it is in ASCII
    this.#kept = `${folder}/${name}.${verb}`
    this.#about = `${text.slice(0, text.indexOf('\n'))} ${process.version} ${process.arch}` // the first line is a digest of both files
    const cachedData = this.#read()
    this.#script = new Script(text, { filename: path, ...(cachedData ? { cachedData } : {}) })
    if (cachedData && !this.#script.cachedDataRejected) this.#keptBytes = cachedData.length // else made with other flags, or on another processor
    this.modules = this.#script.runInThisContext()
  }

  /** Two lines: what it was made of, and the digest of what follows, which is V8's. */
  #read() {
    try {
      const kept = readFileSync(this.#kept)
      const first = kept.indexOf('\n')
      const second = kept.indexOf('\n', first + 1)
      const code = kept.subarray(second + 1)
      const [about, digest] = [kept.toString('latin1', 0, first), kept.toString('latin1', first + 1, second)]
      return about === this.#about && digest === digestOf(code) ? code : undefined
    } catch {
      return undefined
    }
  }

  remember() {
    if (this.#keptBytes > 0 && Date.now() % LOOK_EACH !== 0) return
    const temporary = `${this.#kept}.${process.pid}`
    try {
      const code = this.#script.createCachedData()
      if (code.length < this.#keptBytes * MUCH_MORE) return
      const head = `${this.#about}\n${digestOf(code)}\n`
      mkdirSync(posix.dirname(this.#kept), { recursive: true, mode: 0o700 })
      writeFileSync(temporary, Buffer.concat([Buffer.from(head), code]), { mode: 0o600 })
      renameSync(temporary, this.#kept)
    } catch {
      rmSync(temporary, { force: true }) // no home, no room: the next command compiles again
    }
  }
}

/** `folder`: where what is executed is kept, which must be nobody else's; `verb`: the one that was typed. */
function openCommands(folder, verb) {
  const first = new Linked('commands-first', folder, verb)
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
      if (wanted.startsWith('.')) return whenUsed(() => load(posix.join(beside, wanted).replace(/(\.js)?$/, '.js')))
      if (wanted === 'node:process') return process // methods of it ask whose they are
      return wanted.startsWith('node:') ? whenUsed(() => require(wanted)) : require(wanted)
    }
    if (!(name in first.modules)) more ??= new Linked('commands-more', folder, verb)
    const run = first.modules[name] ?? more.modules[name]
    run(module.exports, own, module, __dirname)
    return module.exports
  }
  const { runClientCli } = load(ENTRY)
  return {
    runClientCli,
    /** What the verb has called will not have to be compiled again. */
    remember(code) {
      const isVerb = code === 0 && /^[a-z-]{2,20}$/.test(verb) // what was mistyped is none
      if (process.uptime() > SHORT_SECONDS || !isVerb) return
      first.remember()
      more?.remember()
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
