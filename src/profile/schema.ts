import {
  commonKeys,
  defaultKeys,
  type KeySpec,
  type KeyTable,
  type KeyType,
  proxyKeys,
  sourceKeys,
  storeKeys,
} from './keys.ts'
import type { SourceName } from './profile.ts'
import { tokenTypes } from './profile.ts'
import { isClient } from './source-rules.ts'

// The configuration as a JSON Schema, for editors: what it says of a key comes from the tables that the validator reads.
// It never refuses what the validator accepts. What it cannot say is left to the validator: names of other profiles, names
// that differ in letter case only, and most of what keys say about each other.

/** A JSON Schema (draft 7), or a part of one. */
export type Schema = { readonly [key: string]: unknown }

/** The schema of the configuration file. */
export function configSchema(): Schema {
  const sources = Object.keys(sourceKeys) as SourceName[]
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Configuration of tokctl',
    ...table({
      defaults: { description: 'timing of all profiles', ...tableOf(defaultKeys) },
      store: { description: 'what keeps the tokens', ...tableOf(storeKeys) },
      profile: {
        description: 'ways to get a token, by their names',
        type: 'object',
        propertyNames: { pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$' },
        additionalProperties: { oneOf: sources.map(name => ref(name)) },
      },
      proxy: {
        description: 'routes of tokctl proxy, by their names',
        type: 'object',
        additionalProperties: tableOf(proxyKeys),
      },
    }),
    definitions: {
      ...Object.fromEntries(sources.map(name => [name, sourceSchema(name)])),
      ...shared,
    },
  }
}

function sourceSchema(name: SourceName): Schema {
  const { properties, required, ...rest } = tableOf({ ...commonKeys, ...sourceKeys[name] }) as {
    properties: Record<string, Schema>
    required: readonly string[]
  }
  return {
    ...rest,
    properties: { ...properties, source: { ...properties['source'], const: name } },
    required,
    ...rulesOf(name, properties),
  }
}

// What keys say about each other, as far as it can be said of names alone.
function rulesOf(name: SourceName, properties: Readonly<Record<string, Schema>>): Schema {
  const rules: Schema[] = []
  const needsOne = (...keys: (readonly string[])[]): void => {
    rules.push({ anyOf: keys.map(required => ({ required })) })
  }
  const exclude = (...required: string[]): void => {
    rules.push({ not: { required } })
  }
  if (name === 'authorization_code') needsOne(['issuer'], ['authorization_endpoint', 'token_endpoint'])
  else if (name === 'device_code') needsOne(['issuer'], ['device_authorization_endpoint', 'token_endpoint'])
  else if (name === 'jwt_bearer') needsOne(['issuer'], ['token_endpoint'], ['key_file'])
  else if (isClient(name)) needsOne(['issuer'], ['token_endpoint'])
  if (name === 'authorization_code' || name === 'device_code') needsOne(['client_id'])
  if (name === 'jwt_bearer') {
    needsOne(['private_key'], ['key_file'])
    needsOne(['iss'], ['key_file'], ['client_id'])
    exclude('private_key', 'key_file')
  }
  if (name === 'github_app') {
    needsOne(['private_key'])
    needsOne(['client_id'], ['app_id'])
    exclude('client_id', 'app_id')
  }
  if (name === 'http') {
    exclude('json', 'form')
    exclude('basic', 'bearer')
    needsOne(['token_path'], ['members'])
  }
  if ('members' in properties) {
    exclude('members', 'match')
    if ('token_path' in properties) exclude('members', 'token_path')
  }
  const together = ['client_certificate', 'client_key'] as const
  const [certificate, key] = together
  return {
    ...(rules.length > 0 ? { allOf: rules } : {}),
    ...(certificate in properties ? { dependencies: { [certificate]: [key], [key]: [certificate] } } : {}),
  }
}

function tableOf(keys: KeyTable): Schema {
  const properties = Object.fromEntries(
    Object.entries(keys).map(([key, spec]) => [key, { description: spec.about, ...typeOf(spec) }]),
  )
  const required = Object.keys(keys).filter(key => keys[key]!.required)
  return table(properties, required)
}

function table(properties: Readonly<Record<string, Schema>>, required: readonly string[] = []): Schema {
  return {
    type: 'object',
    properties,
    additionalProperties: false,
    ...(required.length > 0 ? { required } : {}),
  }
}

function typeOf(spec: KeySpec): Schema {
  const schema = types[spec.type]
  return typeof schema === 'function' ? schema(spec) : schema
}

const controls = '\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029'
const text: Schema = { type: 'string', pattern: `^[^${controls}]*[^${controls}\\s][^${controls}]*$` }
const plain: Schema = { type: 'string', pattern: `^[^${controls}]*$` }
const variable: Schema = { type: 'string', pattern: '^[A-Za-z_][A-Za-z0-9_]*$' }
const command: Schema = { type: 'array', items: plain, minItems: 1 }
const url: Schema = { type: 'string', pattern: '^[Hh][Tt][Tt][Pp][Ss]?://[^\\s#]+$' }
const dotted: Schema = { type: 'string', pattern: '^[^.]+(\\.[^.]+)*$' }
const plainOrSecret: Schema = { anyOf: [plain, ref('secret')] }

function ref(name: string): Schema {
  return { $ref: `#/definitions/${name}` }
}

function map(values: Schema): Schema {
  return { type: 'object', additionalProperties: values, propertyNames: { minLength: 1 } }
}

const types: Readonly<Record<KeyType, Schema | ((spec: KeySpec) => Schema)>> = {
  text,
  texts: { anyOf: [text, { type: 'array', items: text }] },
  choice: ({ values }) => ({ enum: values }),
  duration: { type: 'string', pattern: '^[0-9]{1,12}(ms|s|m|h|d)$' },
  instant: {
    type: 'string',
    pattern: '^\\d{4}-\\d\\d-\\d\\d[Tt ]\\d\\d:\\d\\d:\\d\\d(\\.\\d{1,9})?([Zz]|[+-]\\d\\d:\\d\\d)$',
  },
  issuer: url,
  url,
  patterns: { type: 'array', items: text },
  secret: ref('secret'),
  path: text,
  command,
  params: map(plain),
  headers: map(plainOrSecret),
  basic: table({ username: plainOrSecret, password: ref('secret') }, ['username', 'password']),
  form: map(plainOrSecret),
  json: {},
  dotted,
  flag: { type: 'boolean' },
  listen: {
    type: 'string',
    pattern: '^(systemd|unix:/.+|127(\\.\\d{1,3}){3}:\\d{1,5}|\\[[0-9a-fA-F:]+\\]:\\d{1,5})$',
  },
  size: { type: 'string', pattern: '^\\d{1,6}(KiB|MiB|GiB)$' },
  port: { type: 'integer', minimum: 1, maximum: 65_535 },
  id: {
    anyOf: [
      { type: 'integer', minimum: 1 },
      { type: 'string', pattern: '^[1-9][0-9]{0,18}$' },
    ],
  },
  variable,
  base_url: url,
  token: ref('token'),
  token_type: {
    anyOf: [{ enum: tokenTypes }, { type: 'string', pattern: '^[A-Za-z][A-Za-z0-9+.-]*:\\S+$' }],
  },
  key_file: { anyOf: [text, ref('secret')] },
  claims: map({ type: ['string', 'number', 'boolean'] }),
  permissions: {
    type: 'object',
    propertyNames: { pattern: '^[a-z][a-z_]*$' },
    additionalProperties: { enum: ['read', 'write', 'admin'] },
  },
  members: { ...map(dotted), minProperties: 1 },
}

function forms(more: readonly Schema[]): Schema {
  const kept: Schema = { type: 'string', pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$' }
  const item = table({ service: text, account: text }, ['service', 'account'])
  const all: [name: string, about: string, value: Schema][] = [
    ['env', 'an environment variable', variable],
    ['file', 'a file, read when it is needed', text],
    ['command', 'a program whose stdout it is; no shell is involved', command],
    ['secret', 'kept by: tokctl secret set NAME', kept],
    ['keychain', 'an item of the keychain that another application keeps', item],
  ]
  return {
    oneOf: [
      ...all.map(([name, about, value]) => table({ [name]: { description: about, ...value } }, [name])),
      ...more,
    ],
  }
}

const shared: Readonly<Record<string, Schema>> = {
  secret: { description: 'a reference; the secret itself is never written here', ...forms([]) },
  token: {
    description: 'a reference, or the token of another profile',
    ...forms([table({ profile: { description: 'its name', ...text } }, ['profile'])]),
  },
}
