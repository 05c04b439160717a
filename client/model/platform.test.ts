import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { choosePlatform, printPlatform } from './platform.ts'

const entry = (text: string) => {
  const [os = '', architecture = '', variant] = text.split('/')
  return { platform: { os, architecture, ...(variant ? { variant } : {}) } }
}
const chosen = (host: string, ...offered: string[]) => {
  const found = choosePlatform(offered.map(entry), entry(host).platform)
  return found && printPlatform(found.platform)
}

describe('the manifest for a platform', () => {
  it('is the first that fits', () =>
    assert.equal(chosen('linux/amd64', 'linux/arm64', 'linux/amd64', 'linux/x86_64'), 'linux/amd64'))
  it('is found under another spelling', () => assert.equal(chosen('linux/amd64', 'linux/x86_64'), 'linux/x86_64'))
  it('is never an attestation', () => assert.equal(chosen('linux/amd64', 'unknown/unknown'), undefined))
  it('may be an older variant', () => assert.equal(chosen('linux/arm64', 'linux/arm/v7'), 'linux/arm/v7'))
  it('is never a newer variant', () => assert.equal(chosen('linux/arm/v6', 'linux/arm/v7'), undefined))
  it('treats arm64 and arm64/v8 as one', () => assert.equal(chosen('linux/arm64', 'linux/arm64/v8'), 'linux/arm64/v8'))
  it('is never for another system', () => assert.equal(chosen('linux/amd64', 'windows/amd64'), undefined))
})
