/** Memory outside of V8's heap that is kept for later, without the pages behind it. */
import { loadAddon } from './addon.ts'

interface Memory {
  /** What `bytes` said is gone, and the system has their whole pages back, until somebody writes there again. They stay good to use. */
  forgetPages(bytes: Uint8Array): void
}

export const { forgetPages } = loadAddon<Memory>()
