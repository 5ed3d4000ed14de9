import { describe, expect, test } from 'vitest'
import { TokctlError } from '../../src/core/errors.ts'
import { appended } from '../../src/profile/edit.ts'
import { parseConfig } from '../../src/profile/parse.ts'
import { type Config, isSecretRef } from '../../src/profile/profile.ts'
import { missingAsks, namesOf, readAsk, recipeText } from '../../src/profile/recipe-text.ts'
import { type Recipe, recipes } from '../../src/profile/recipes.ts'
import { bareEnvironment } from '../support/source-ports.ts'

const environment = { ...bareEnvironment(), home: '/home/ada', platform: 'linux' as const }

function parse(toml: string): Config {
  return parseConfig({ file: '/etc/tokctl/c.toml', bytes: Buffer.from(toml) }, 'c.toml', environment)
}

/** Answers as a person would give them who copies the examples. */
function examples(recipe: Recipe): Map<string, string> {
  return new Map(recipe.asks.map(ask => [ask.key, readAsk(ask, ask.example)]))
}

function failure(call: () => unknown): TokctlError {
  try {
    call()
  } catch (error) {
    if (error instanceof TokctlError) return error
    throw error
  }
  throw new Error('expected a TokctlError')
}

test('there is a recipe for every provider that was promised', () => {
  expect(Object.keys(recipes)).toEqual([
    'okta',
    'okta-login',
    'auth0',
    'auth0-login',
    'entra',
    'entra-login',
    'google-service-account',
    'google',
    'cognito',
    'keycloak',
    'keycloak-login',
    'github-app',
    'github',
    'gitlab',
    'salesforce',
    'spotify',
    'twitch',
    'slack',
    'atlassian',
    'databricks',
    'snowflake',
    'docker-hub',
    'npm',
    'pypi',
    'oidc',
    'oidc-login',
  ])
})

describe.each(Object.entries(recipes))('%s', (_, recipe) => {
  test('writes a profile that is complete', () => {
    const { profiles } = parse(recipeText(recipe, 'corp', examples(recipe)))
    expect([...profiles.keys()]).toEqual(namesOf(recipe, 'corp'))
    // Nothing of the recipe is left open.
    expect(JSON.stringify([...profiles.values()])).not.toMatch(/\{\w+\}|undefined/)
  })

  test('is complete with what it asks for alone', () => {
    const asked = new Map(missingAsks(recipe, new Map()).map(ask => [ask.key, readAsk(ask, ask.example)]))
    expect(parse(recipeText(recipe, 'corp', asked)).profiles.has('corp')).toBe(true)
    expect(missingAsks(recipe, asked)).toEqual([])
  })

  test('writes no secret, only where one is kept', () => {
    const look = (key: string, value: unknown): void => {
      if (/(?:secret|password|token|private_key|bearer)$/.test(key)) {
        expect(isSecretRef(value), key).toBe(true)
      } else if (typeof value === 'object' && value !== null) {
        for (const [name, field] of Object.entries(value)) look(name, field)
      }
    }
    for (const [key, value] of [...recipe.lines, ...(recipe.identity ?? [])]) look(key, value)
    // Every kept secret is one that the notes tell to set.
    const text = recipeText(recipe, 'corp', examples(recipe))
    for (const [, name] of text.matchAll(/secret = "([^"]+)"/g)) {
      expect(name).toMatch(/^corp-(?:client|key|refresh|pat)$/)
      expect(text).toContain(`tokctl secret set ${name}`)
    }
  })

  test('is commented, each line of a comment by itself', () => {
    const text = recipeText(recipe, 'corp', examples(recipe))
    expect(text).toMatch(/^# /)
    expect(text).toMatch(/^#\s+(?:Next: )?tokctl (?:login|get|profile test) corp$/m)
    for (const line of text.trimEnd().split('\n'))
      expect(line).toMatch(/^(?:# \S.*|#\s{7}tokctl .*|\[profile\..*|\w+ +=.*|)$/)
  })

  test('says on which public pages it was read', () => {
    const text = recipeText(recipe, 'corp', examples(recipe))
    expect(recipe.docs.length).toBeGreaterThan(0)
    for (const page of recipe.docs) {
      expect(page).toMatch(/^https:\/\/[a-z\d.-]+\/\S*$/)
      expect(text).toContain(`\n# See ${page}\n`)
    }
  })

  test('fits a name with a dot in it', () => {
    const { profiles } = parse(recipeText(recipe, 'corp.test', examples(recipe)))
    expect(profiles.has('corp.test')).toBe(true)
  })
})

test('all recipes fit one file', () => {
  const toml = Object.entries(recipes).reduce(
    (text, [name, recipe]) => appended(text, recipeText(recipe, name, examples(recipe))),
    '',
  )
  expect(parse(toml).profiles.size).toBe(Object.keys(recipes).length + 2)
})

const facts: [provider: string, want: Record<string, unknown>][] = [
  [
    'okta',
    {
      source: 'client_credentials',
      token_endpoint: 'https://acme.okta.com/oauth2/default/v1/token',
      client_auth: 'client_secret_basic',
      client_secret: { secret: 'corp-client' },
    },
  ],
  ['auth0', { client_auth: 'client_secret_post', audience: 'https://api.example.com', resource: [] }],
  ['entra', { token_endpoint: 'https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token' }],
  [
    'google-service-account',
    {
      source: 'jwt_bearer',
      client_auth: 'none',
      scope_in_assertion: true,
      key_file: { file: '/home/ada/keys/robot.json' },
    },
  ],
  ['google', { params: { access_type: 'offline' }, prompt: 'consent', client_auth: 'client_secret_post' }],
  ['github-app', { source: 'github_app', installation_id: '12345678', private_key: { secret: 'corp-key' } }],
  ['github', { source: 'device_code', client_auth: 'none' }],
  ['salesforce', { aud: 'https://login.salesforce.com', default_ttl_ms: 900_000, signing_alg: 'RS256' }],
  ['slack', { source: 'refresh_token', refresh_token: { secret: 'corp-refresh' } }],
  ['gitlab', { source: 'device_code', client_auth: 'none', username: 'oauth2' }],
  [
    'atlassian',
    {
      authorization_endpoint: 'https://auth.atlassian.com/authorize?audience=api.atlassian.com',
      redirect_port: 8400,
      prompt: 'consent',
    },
  ],
  ['snowflake', { redirect_port: 8400, client_auth: 'client_secret_basic', basic_encoding: 'raw' }],
  [
    'docker-hub',
    {
      url: 'https://auth.docker.io/token?service=registry.docker.io&scope=repository:library/ubuntu:pull',
      default_ttl_ms: 60_000,
    },
  ],
  [
    'npm',
    {
      url: 'https://registry.example.com/-/npm/v1/oidc/token/exchange/package/@acme%2fwidget',
      bearer: { command: ['tokctl', 'get', 'corp-id'] },
      expires_at_path: 'expires',
    },
  ],
]
test.each(facts)('%s is written as the provider wants it', (provider, want) => {
  const recipe = recipes[provider]!
  expect(parse(recipeText(recipe, 'corp', examples(recipe))).profiles.get('corp')).toMatchObject(want)
})

test('what else a profile may hold can be set, and stands in the place of the recipe’s own', () => {
  const { profiles } = parse(
    recipeText(
      recipes['okta']!,
      'corp',
      new Map([
        ...examples(recipes['okta']!),
        ['client_secret', 'env:CORP_SECRET'],
        ['client_auth', 'client_secret_post'],
        ['refresh_before', '1m'],
        ['dpop', 'true'],
        ['match', 'https://a.example, https://b.example/x'],
        ['kid', '{profile}"\\'],
      ]),
    ),
  )
  expect(profiles.get('corp')).toMatchObject({
    client_secret: { env: 'CORP_SECRET' },
    client_auth: 'client_secret_post',
    refresh_before_ms: 60_000,
    dpop: true,
    match: ['https://a.example', 'https://b.example/x'],
    kid: '{profile}"\\',
  })
})

const refusals: [name: string, key: string, text: string, message: string, hint: RegExp][] = [
  [
    'a misspelt key',
    'scop',
    'x',
    '--set: unknown key "scop"; did you mean scope?',
    /domain, server, client_id, scope/,
  ],
  [
    'another source',
    'source',
    'static',
    '--set cannot write source, which the provider decides',
    /^leave it out$/,
  ],
  [
    'a literal secret',
    'client_secret',
    'hunter2',
    'client_secret is a secret, and only where it is kept is written down',
    /client_secret=env:NAME/,
  ],
  [
    'a profile in the place of a secret',
    'client_secret',
    'profile:x',
    'client_secret is a secret, and only where it is kept is written down',
    /secret:NAME/,
  ],
  ['a table', 'params', 'a=b', '--set cannot write params, which is more than a text', /into the file/],
]
test.each(refusals)('%s cannot be set', (_, key, text, message, hint) => {
  const recipe = recipes['okta']!
  const error = failure(() => recipeText(recipe, 'corp', new Map([...examples(recipe), [key, text]])))
  expect(error).toMatchObject({ code: 'usage', message })
  expect(error.hint).toMatch(hint)
  expect(error.message + error.hint).not.toContain('hunter2')
})

const answers: [
  kind: 'host' | 'url' | 'word' | 'package' | 'text',
  text: string,
  want: string | undefined,
][] = [
  ['host', ' acme.okta.com ', 'acme.okta.com'],
  ['host', 'https://acme.okta.com/', 'acme.okta.com'],
  ['host', 'localhost:8443', 'localhost:8443'],
  ['host', 'acme.okta.com/evil', undefined],
  ['host', 'a@b', undefined],
  ['url', 'https://id.example.com/auth/', 'https://id.example.com/auth'],
  ['url', 'id.example.com', undefined],
  ['url', 'https://id.example.com/?x', undefined],
  ['word', 'eu-central-1', 'eu-central-1'],
  ['word', '../x', undefined],
  ['word', '', undefined],
  ['package', '@acme/widget', '@acme%2fwidget'],
  ['package', 'widget', 'widget'],
  ['package', 'a/b/c', undefined],
  ['text', ' a b ', 'a b'],
  ['text', ' ', undefined],
]
test.each(answers)('of a %s, %j is taken as %j', (kind, text, want) => {
  const ask = { key: 'k', about: 'it', example: 'e', kind }
  if (want === undefined) expect(failure(() => readAsk(ask, text)).code).toBe('usage')
  else expect(readAsk(ask, text)).toBe(want)
})
