/**
 * Names of containers: a link each, from the name to the container's id, which is made only if there is none. A link whose container is not there, or
 * has another name, is what a killed command left, and the name is free. Links are taken away under one lock.
 */
import { readlinkSync, symlinkSync, unlinkSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { randomHex } from '../../native/random.ts'
import type { StoreFolders } from '../store/store.ts'
import { RequestError } from './request-error.ts'

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/
const LONGEST_NAME = 200
const TRIES = 50
const NO_LINK = new Set<string | undefined>(['ENOENT', 'EINVAL', 'ENAMETOOLONG'])

/** Docker's alphabet. Throws `RequestError`. */
export function checkContainerName(name: string): string {
  const plain = name.replace(/^\//, '')
  if (!NAME.test(plain) || plain.length > LONGEST_NAME)
    throw new RequestError(
      `invalid container name ${JSON.stringify(name)}: it has letters, digits, "_", "." and "-", two characters or more, and begins with a letter or digit`,
    )
  return plain
}

export class Names {
  readonly #store: StoreFolders

  constructor(store: StoreFolders) {
    this.#store = store
  }

  /** The id that the link says; whether that container is there is the caller's to see. */
  lookUp(name: string): string | undefined {
    if (!NAME.test(name)) return undefined
    try {
      return readlinkSync(this.#link(name))
    } catch (error) {
      if (NO_LINK.has((error as NodeJS.ErrnoException).code)) return undefined
      throw error
    }
  }

  /**
   * Gives a container its name: the one asked for, or one of our own. `isTaken` says whether the container of that id has that name. Throws
   * `RequestError` if somebody else has it.
   */
  async claim(
    id: string,
    wanted: string | undefined,
    isTaken: (id: string, name: string) => Promise<boolean>,
  ): Promise<string> {
    for (let tries = 0; ; tries++) {
      const name = wanted ?? (tries < TRIES ? randomName() : `${randomName()}${tries}`)
      if (this.#make(name, id)) return name
      await using _ = await this.#store.lock('names', 'exclusive') // so that the link stays what it is while we look
      const owner = this.lookUp(name)
      if (owner === id) return name
      if (owner !== undefined && (await isTaken(owner, name))) {
        if (wanted === undefined) continue
        throw new RequestError(
          `the name ${JSON.stringify(name)} is already in use by the container ${owner.slice(0, 12)}: remove or rename that one, or choose another name`,
        )
      }
      if (owner !== undefined) unlinkSync(this.#link(name))
    }
  }

  /** Whether there was none. */
  #make(name: string, id: string): boolean {
    try {
      symlinkSync(id, this.#link(name))
      return true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      return false
    }
  }

  /** Fine if it has gone, or is somebody else's by now. */
  async release(id: string, name: string): Promise<void> {
    await using _ = await this.#store.lock('names', 'exclusive')
    if (this.lookUp(name) === id) unlinkSync(this.#link(name))
  }

  /** For one that was never finished: nobody knows any more which name it had. */
  async releaseAll(id: string): Promise<void> {
    await using _ = await this.#store.lock('names', 'exclusive')
    for (const name of await readdir(this.#store.names)) if (this.lookUp(name) === id) unlinkSync(this.#link(name))
  }

  #link(name: string): string {
    return join(this.#store.names, name)
  }
}

/** Names of our own are one of each. */
export const QUALITIES: readonly string[] =
  'able agile airy amber ample apt arctic astute autumn azure balmy bold brave breezy bright brisk calm candid chief civil clear clever cosy crisp curious daring dapper deft eager early earnest fair fleet fond frank fresh gentle glad golden grand happy hardy honest humble jolly keen kind lively loyal lucid lucky mellow merry mild modest neat nimble noble patient placid plucky polite proud quick quiet rapid ready robust rosy sandy serene sharp silent silver snug sober spry steady still stoic sturdy subtle sunny swift tender tidy tranquil trusty upbeat valiant vivid warm wary windy wise witty zesty'.split(
    ' ',
  )
export const THINGS: readonly string[] =
  'anchor antler arch badger barge beacon birch bishop bridge brook cabin canal canoe canvas cedar cherry cliff clover comet compass copper coral crane cricket cutter dahlia delta derrick dune eagle ember falcon ferry fjord forest fox gable galley garnet glacier grove gull harbor hazel heron hoist iris island ivory jetty juniper kettle lagoon lantern larch lark lever lighthouse lily loom lynx magnet maple marsh meadow mill moor moss oak orchard osprey otter pearl pebble pier pine plover pulley quarry quay raven reef ridge river rowan rudder sail sextant shore sparrow spruce summit swallow thicket thrush tide timber trellis tulip valley walnut wharf willow winch wren yarrow'.split(
    ' ',
  )

function randomName(): string {
  const pick = (words: readonly string[]): string => words[Number.parseInt(randomHex(4), 16) % words.length] ?? ''
  return `${pick(QUALITIES)}_${pick(THINGS)}`
}
