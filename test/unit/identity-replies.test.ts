import { expect, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import { membersText, type Token } from '../../src/core/token.ts'
import { type IdentityKind, type IdentityReply, identityProtocols } from '../../src/watch/identity-replies.ts'

// The configuration may change while an endpoint answers: what is refused at its start can come later.

const secret = 'endpoint-canary'
const questions = {
  aws: { path: '/aws', query: '', headers: { authorization: secret } },
  gce: {
    path: '/computeMetadata/v1/instance/service-accounts/default/token',
    query: '',
    headers: { 'metadata-flavor': 'Google' },
  },
  azure: { path: '/msi', query: 'resource=r', headers: { 'x-identity-header': secret } },
}

function answerOf(kind: IdentityKind, members: Readonly<Record<string, Secret>> | undefined): IdentityReply {
  const { query, ...question } = questions[kind]
  const plan = identityProtocols[kind].plan({ ...question, query: new URLSearchParams(query) }, secret)
  if (plan.kind === 'reply') throw new Error('it was refused')
  const token: Token = {
    accessToken: members === undefined ? new Secret('token-canary') : membersText(members),
    ...(members === undefined ? {} : { members }),
    tokenType: 'Bearer',
    scope: undefined,
    obtainedAt: 0,
    expiresAt: 3_600_000,
    refreshToken: undefined,
  }
  return plan.reply(token, 0)
}

const keys = { AccessKeyId: new Secret('AKIA1'), SecretAccessKey: new Secret('key-canary') }
const oneToken = 'the profile yields named members, and these SDKs want one token'
const cases: [
  kind: IdentityKind,
  members: Readonly<Record<string, Secret>> | undefined,
  body: string | object,
][] = [
  [
    'aws',
    undefined,
    {
      Code: 'MissingKeys',
      Message: 'the profile yields no AccessKeyId and no SecretAccessKey and no SessionToken',
    },
  ],
  ['aws', keys, { Code: 'MissingKeys', Message: 'the profile yields no SessionToken' }],
  ['gce', keys, oneToken],
  ['azure', keys, { error: { code: 'named_members', message: oneToken } }],
]
test.each(cases)('%s hands out nothing that its SDKs do not want', (kind, members, body) => {
  expect(answerOf(kind, members)).toMatchObject({ status: 500, body })
})
