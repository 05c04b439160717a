import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { parseRepositoryName, parseTag } from '../../storage/model/reference.ts'
import { matchesGlob } from './glob.ts'
import { ANONYMOUS, type Identity } from './identity.ts'
import {
  ACTIONS,
  type Action,
  claimsAskedFor,
  decide,
  explain,
  isImmutable,
  isRepositoryPattern,
  type Policy,
  type Rule,
  servesAnonymous,
  USERS_DO_ALL,
} from './policy.ts'

const user = (name: string, groups: readonly string[] = []): Identity => ({ ...ANONYMOUS, kind: 'user', name, groups })
const rule = (who: string, repositories: string, actions: readonly Action[], more: Partial<Rule> = {}): Rule => ({
  who: [who],
  claims: {},
  repositories: [repositories],
  actions,
  effect: 'allow',
  ...more,
})
const policyOf = (...rules: readonly Rule[]): Policy => ({ rules, immutableTags: [], groups: {} })
const may = (policy: Policy, identity: Identity, action: Action, repository: string): boolean =>
  decide(policy, identity, action, parseRepositoryName(repository)).allowed

describe('a pattern for repositories', () => {
  it('is refused if no repository could ever be meant', () => {
    for (const text of ['*', 'team/*', 'team*/**', '*/app', 'a.b/c__d-*']) assert.ok(isRepositoryPattern(text), text)
    for (const text of ['', 'Team/*', '/team', 'team/', '*/', 'a//b', 'a/../b', 'é', 'a b', 'a'.repeat(256)]) {
      assert.ok(!isRepositoryPattern(text), text)
    }
  })
})

describe('matchesGlob', () => {
  it('is a regular expression in which a star is .*', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '/', '.', '*'), maxLength: 12 })
    fc.assert(
      fc.property(text, text, (pattern, subject) => {
        const expression = pattern
          .replaceAll(/[^*]/g, '\\$&')
          .replaceAll('*', '.*')
          .replaceAll(/\\([ab/])/g, '$1')
        assert.equal(matchesGlob(pattern, subject), new RegExp(`^(?:${expression})$`, 's').test(subject))
      }),
      { numRuns: 2_000 },
    )
  })

  it('answers a pattern of many stars at once', () => {
    assert.equal(matchesGlob(`${'*a'.repeat(500)}b`, 'a'.repeat(5_000)), false)
  })
})

describe('decide', () => {
  it('refuses what no rule is about', () => {
    assert.deepEqual(decide(policyOf(), user('alice'), 'pull', parseRepositoryName('a')), {
      allowed: false,
      by: 'nothing',
    })
  })

  it('takes the first rule that is about the one, the repository and the action, allowing or denying', () => {
    const policy = policyOf(
      rule('user:mallory', '*', ACTIONS, { effect: 'deny' }),
      rule('authenticated', 'team/secret/*', ['push'], { effect: 'deny' }),
      rule('authenticated', 'team/*', ['pull', 'push']),
      rule('everyone', 'public/*', ['pull']),
    )
    const cases: readonly [Identity, Action, string, boolean][] = [
      [user('mallory'), 'pull', 'public/a', false],
      [user('alice'), 'pull', 'team/secret/a', true],
      [user('alice'), 'push', 'team/secret/a', false],
      [user('alice'), 'push', 'team/a', true],
      [user('alice'), 'delete', 'team/a', false],
      [ANONYMOUS, 'pull', 'team/a', false],
      [ANONYMOUS, 'pull', 'public/a/b', true],
      [ANONYMOUS, 'push', 'public/a', false],
      [user('alice'), 'pull', 'public', false],
    ]
    for (const [identity, action, repository, allowed] of cases) {
      assert.equal(may(policy, identity, action, repository), allowed, `${identity.name} ${action} ${repository}`)
    }
  })

  it('is the meaning of its words: a model that tries the rules one by one agrees', () => {
    const name = fc.constantFrom('a', 'b')
    const anyRule = fc.record({
      who: fc.array(
        fc.constantFrom('user:a', 'user:b', 'user:*', 'group:g', 'robot:a', 'everyone', 'anonymous', 'authenticated'),
        { minLength: 1, maxLength: 2 },
      ),
      claims: fc.constant({}),
      repositories: fc.array(fc.constantFrom('x', 'x/*', 'y', '*'), { minLength: 1, maxLength: 2 }),
      actions: fc.subarray([...ACTIONS], { minLength: 1 }),
      effect: fc.constantFrom('allow' as const, 'deny' as const),
    })
    const anyone = fc.oneof(
      fc.constant(ANONYMOUS),
      name.map((each) => user(each)),
      name.map((each) => user(each, ['g'])),
      name.map((each): Identity => ({ ...ANONYMOUS, kind: 'robot', name: each })),
    )
    const covers = (actions: readonly string[], action: string): boolean =>
      actions.includes(action) ||
      (action.endsWith('-tag') && actions.includes('push') && !actions.some((each) => each.endsWith('-tag')))
    const isAbout = (who: string, { kind, name, groups }: Identity): boolean => {
      if (who === 'everyone') return true
      if (who === 'anonymous') return kind === 'anonymous'
      if (who === 'authenticated') return kind !== 'anonymous'
      const [type, pattern] = who.split(':')
      if (type === 'group') return groups.includes(pattern ?? '')
      return type === kind && (pattern === '*' || pattern === name)
    }
    fc.assert(
      fc.property(
        fc.array(anyRule, { maxLength: 5 }),
        anyone,
        fc.constantFrom(...ACTIONS),
        fc.constantFrom('x', 'x/z', 'y'),
        (rules, identity, action, repository) => {
          const first = rules.find(
            ({ who, actions, repositories }) =>
              covers(actions, action) &&
              who.some((each) => isAbout(each, identity)) &&
              repositories.some(
                (each) => each === '*' || each === repository || (each === 'x/*' && repository === 'x/z'),
              ),
          )
          assert.equal(may(policyOf(...rules), identity, action, repository), first?.effect === 'allow')
        },
      ),
      { numRuns: 2_000 },
    )
  })

  it('lets push alone stand for what docker push needs, and beside a right to tags for content only', () => {
    for (const [actions, create, move] of [
      [['push'], true, true],
      [['push', 'create-tag'], true, false],
      [['push', 'move-tag'], false, true],
      [['create-tag'], true, false],
      [['pull'], false, false],
    ] as const) {
      const policy = policyOf(rule('user:a', '*', actions))
      assert.equal(may(policy, user('a'), 'create-tag', 'x'), create, actions.join())
      assert.equal(may(policy, user('a'), 'move-tag', 'x'), move, actions.join())
    }
  })

  it('knows groups by the configuration, for users only, and by the account', () => {
    const policy: Policy = { ...policyOf(rule('group:dev', '*', ['pull'])), groups: { dev: ['alice'] } }
    assert.equal(may(policy, user('alice'), 'pull', 'x'), true)
    assert.equal(may(policy, user('bob'), 'pull', 'x'), false)
    assert.equal(may(policy, user('bob', ['dev']), 'pull', 'x'), true)
    assert.equal(may(policy, { ...ANONYMOUS, kind: 'robot', name: 'alice' }, 'pull', 'x'), false)
  })

  it('demands every claim of a rule, and only such as the issuer gave', () => {
    const claims = { repository: 'acme/*', ref: 'refs/heads/main' }
    const policy = policyOf(rule('oidc:ci', '*', ['push'], { claims }))
    const job = (given: Record<string, string>): Identity => ({ ...ANONYMOUS, kind: 'oidc', name: 'ci', claims: given })
    assert.equal(may(policy, job({ repository: 'acme/app', ref: 'refs/heads/main' }), 'push', 'x'), true)
    assert.equal(may(policy, job({ repository: 'acme/app', ref: 'refs/heads/fix' }), 'push', 'x'), false)
    assert.equal(may(policy, job({ repository: 'acme/app' }), 'push', 'x'), false)
    assert.equal(
      may(policyOf(rule('oidc:ci', '*', ['push'], { claims: { toString: '*' } })), job({}), 'push', 'x'),
      false,
    )
    assert.deepEqual([...claimsAskedFor(policy)], ['repository', 'ref'])
  })

  it('gives a robot what it was made with, unless a rule says otherwise', () => {
    const robot: Identity = {
      ...ANONYMOUS,
      kind: 'robot',
      name: 'ci',
      grants: [{ repositories: 'team/*', actions: ['pull', 'push'] }],
    }
    assert.deepEqual(decide(policyOf(), robot, 'move-tag', parseRepositoryName('team/a')), {
      allowed: true,
      by: 'grant',
    })
    assert.equal(may(policyOf(), robot, 'delete', 'team/a'), false)
    assert.equal(may(policyOf(), robot, 'pull', 'other/a'), false)
    assert.equal(may(policyOf(rule('robot:*', '*', ['push'], { effect: 'deny' })), robot, 'push', 'team/a'), false)
    assert.equal(may(policyOf(...USERS_DO_ALL), robot, 'delete', 'team/a'), false)
  })
})

describe('the policy', () => {
  it('keeps immutable tags by pattern', () => {
    const policy: Policy = { ...policyOf(), immutableTags: [{ repositories: ['prod/*'], tags: ['v*', 'lts'] }] }
    const immutable = (repository: string, tag: string): boolean =>
      isImmutable(policy, parseRepositoryName(repository), parseTag(tag))
    assert.deepEqual(
      [immutable('prod/a', 'v1'), immutable('prod/a', 'lts'), immutable('prod/a', 'latest'), immutable('dev/a', 'v1')],
      [true, true, false, false],
    )
  })

  it('serves those without account only if a rule allows them something', () => {
    assert.equal(servesAnonymous(policyOf(...USERS_DO_ALL)), false)
    assert.equal(servesAnonymous(policyOf(rule('anonymous', '*', ['pull'], { effect: 'deny' }))), false)
    assert.equal(servesAnonymous(policyOf(rule('everyone', 'public/*', ['pull']))), true)
  })

  it('explains its answer with the rule that gave it', () => {
    const policy = policyOf(
      rule('anonymous', 'x', ['pull']),
      rule('group:dev', 'team/*', ['pull', 'push'], { effect: 'deny' }),
    )
    const decision = decide(policy, user('alice', ['dev']), 'push', parseRepositoryName('team/a'))
    assert.equal(
      explain(policy, 'alice', 'push', 'team/a', decision),
      'alice may not push in team/a: rule 2 decides: deny pull, push in team/* to group:dev',
    )
  })
})
