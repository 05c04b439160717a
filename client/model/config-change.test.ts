/** `--change`, as docker's users write it. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ChangeError, changedConfig } from './config-change.ts'

describe('a change of how an image is run', () => {
  it('is a line of a Dockerfile, over what was there', () => {
    const before = { Env: ['PATH=/bin', 'LANG=C'], Labels: { a: '1' }, User: 'root', Cmd: ['sh'] }
    const changes = [
      'CMD ["echo", "hi"]',
      'entrypoint exec /init "$@"',
      'ENV LANG=de DE',
      'ENV MODE "two words"',
      'LABEL b="2 3"',
      'USER 1000:1000',
      'WORKDIR /srv',
      'STOPSIGNAL SIGINT',
      'EXPOSE 80 53/udp',
      'VOLUME ["/data", "/more"]',
      'VOLUME /logs',
    ]
    assert.deepEqual(changedConfig(changes, before), {
      Cmd: ['echo', 'hi'],
      Entrypoint: ['/bin/sh', '-c', 'exec /init "$@"'],
      Env: ['PATH=/bin', 'LANG=de DE', 'MODE=two words'],
      Labels: { a: '1', b: '2 3' },
      User: '1000:1000',
      WorkingDir: '/srv',
      StopSignal: 'SIGINT',
      ExposedPorts: { '80/tcp': {}, '53/udp': {} },
      Volumes: { '/data': {}, '/more': {}, '/logs': {} },
    })
    assert.deepEqual(before.Env, ['PATH=/bin', 'LANG=C'])
  })

  it('is refused, saying what would be right', () => {
    for (const [change, message] of [
      ['RUN make', /must be one of CMD, ENTRYPOINT/],
      ['CMD [1]', /write a JSON list of texts/],
      ['CMD ["a"', /write a JSON list of texts/],
      ['ENV X', /write ENV NAME=VALUE/],
      ['LABEL X', /write LABEL NAME=VALUE/],
      ['EXPOSE http', /http is no port: write 8080/],
    ] as const)
      assert.throws(() => changedConfig([change]), { name: 'ChangeError', message })
    assert.ok(new ChangeError('x') instanceof Error)
  })
})
