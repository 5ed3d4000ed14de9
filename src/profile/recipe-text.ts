import { printable, TokctlError } from '../core/errors.ts'
import { commonKeys, type KeySpec, sourceKeys } from './keys.ts'
import { nearest } from './nearest.ts'
import type { SourceName } from './profile.ts'
import type { Recipe, RecipeAsk, RecipeLine, RecipeValue } from './recipes.ts'

/** What was said on the command line or at the terminal: key and text. */
export type Given = ReadonlyMap<string, string>

/** Names that the profiles of a recipe get. */
export function namesOf(recipe: Recipe, name: string): string[] {
  return recipe.identity === undefined ? [name] : [`${name}-id`, name]
}

/** Things that a recipe has to know and nobody has said. */
export function missingAsks(recipe: Recipe, given: Given): RecipeAsk[] {
  return recipe.asks.filter(({ key, fallback }) => !given.has(key) && fallback === undefined)
}

/**
 * Takes what a person gave for a question.
 *
 * @returns The text as it stands in the recipe: a host without its scheme, an address without a slash at its end.
 * @throws {TokctlError} `usage`
 */
export function readAsk({ key, kind, example, fallback }: RecipeAsk, text: string): string {
  const given = text.trim()
  const bare = given.replace(/\/+$/, '')
  const host = bare.replace(/^https?:\/\//i, '')
  if (given === '' && fallback !== '') throw new TokctlError('usage', `${key}: nothing was given`)
  switch (kind) {
    case 'text':
      return given
    case 'host':
      if (/^[a-z\d.-]+(?::\d+)?$/i.test(host)) return host
      break
    case 'url':
      if (/^https?:\/\/[^\s?#]+$/i.test(bare)) return bare
      break
    case 'word':
      if (/^[\w.-]+$/.test(given)) return given
      break
    case 'package':
      if (/^(?:@[\w.-]+\/)?[\w.-]+$/.test(given)) return given.replace('/', '%2f')
  }
  throw new TokctlError('usage', `${key}: "${printable(given)}" is not of the form "${example}"`, {
    hint: `write --set ${key}=${example}`,
  })
}

/**
 * Writes the profile of a recipe, with comments.
 *
 * @param given - Answers by their key, as `readAsk` gave them; any other key of the profile overrides its line or is added.
 * @throws {TokctlError} `usage`: a key that neither the recipe nor the source has, or a secret that is no reference
 */
export function recipeText(recipe: Recipe, name: string, given: Given): string {
  const values = new Map<string, string>([['profile', name]])
  for (const { key, fallback } of recipe.asks) values.set(key, given.get(key) ?? fallback ?? '')
  const lines = withExtras(recipe, given, values)
  const parts = [head(recipe, name, values, lines)]
  if (recipe.identity !== undefined) parts.push(`${table(`${name}-id`, recipe.identity, values)}\n`)
  parts.push(table(name, lines, values))
  return parts.join('')
}

function head(
  recipe: Recipe,
  name: string,
  values: ReadonlyMap<string, string>,
  lines: readonly RecipeLine[],
): string {
  const source = sourceOf(recipe)
  const next = secretsIn(lines.map(([, value]) => value)).map(
    secret => `tokctl secret set ${filled(secret, values)}${/-key$/.test(secret) ? ' < key.pem' : ''}`,
  )
  const signsIn = source === 'authorization_code' || source === 'device_code'
  next.push(
    signsIn
      ? `tokctl login ${name}`
      : source === 'refresh_token'
        ? `tokctl get ${name}`
        : `tokctl profile test ${name}`,
  )
  const told = [
    recipe.about,
    ...recipe.notes,
    ...recipe.docs.map(page => `See ${page}`),
    ...next.map((step, i) => `${i === 0 ? 'Next: ' : '      '}${step}`),
  ]
  return told.map(line => `# ${filled(line, values)}\n`).join('')
}

function secretsIn(value: RecipeValue): string[] {
  if (Array.isArray(value)) return value.flatMap(secretsIn)
  if (typeof value !== 'object') return []
  return Object.entries(value).flatMap(([key, field]) =>
    key === 'secret' && typeof field === 'string' ? [field] : secretsIn(field as RecipeValue),
  )
}

function table(name: string, lines: readonly RecipeLine[], values: ReadonlyMap<string, string>): string {
  const source = lines.find(([key]) => key === 'source')?.[1] as SourceName
  const shown = lines.flatMap(([key, value, why]) => {
    const text = toml(value, values, specOf(source, key))
    return text === '""' ? [] : [{ key, text, why }]
  })
  const width = Math.max(...shown.map(({ key }) => key.length))
  const header = /^[\w-]+$/.test(name) ? name : JSON.stringify(name)
  const rows = shown.map(
    ({ key, text, why }) => `${why === undefined ? '' : `# ${why}\n`}${key.padEnd(width)} = ${text}\n`,
  )
  return `[profile.${header}]\n${rows.join('')}`
}

function toml(value: RecipeValue, values: ReadonlyMap<string, string>, spec?: KeySpec): string {
  if (typeof value === 'string') {
    const text = filled(value, values)
    const isNumber = spec?.type === 'port' || spec?.type === 'id'
    return isNumber && /^\d{1,15}$/.test(text) ? text : quoted(text)
  }
  if (typeof value !== 'object') return String(value)
  if (Array.isArray(value)) return `[${value.map(item => toml(item, values)).join(', ')}]`
  const fields = Object.entries(value).map(([key, field]) => `${bareOrQuoted(key)} = ${toml(field, values)}`)
  return `{ ${fields.join(', ')} }`
}

// A JSON string is a basic string of TOML but for DEL, which TOML wants escaped.
function quoted(text: string): string {
  return JSON.stringify(text).replaceAll('\u007f', '\\u007f')
}

function bareOrQuoted(key: string): string {
  return /^[\w-]+$/.test(key) ? key : quoted(key)
}

function filled(text: string, values: ReadonlyMap<string, string>): string {
  return text.replace(/\{(\w+)\}/g, (whole, key: string) => values.get(key) ?? whole)
}

function sourceOf({ lines }: Recipe): SourceName {
  return lines.find(([key]) => key === 'source')![1] as SourceName
}

function specOf(source: SourceName, key: string): KeySpec | undefined {
  return sourceKeys[source][key] ?? commonKeys[key]
}

function withExtras(recipe: Recipe, given: Given, values: Map<string, string>): RecipeLine[] {
  const source = sourceOf(recipe)
  const lines = [...recipe.lines]
  for (const [key, text] of given) {
    if (recipe.asks.some(ask => ask.key === key)) continue
    if (key === 'source') {
      throw new TokctlError('usage', '--set cannot write source, which the provider decides', {
        hint: 'leave it out',
      })
    }
    const spec = specOf(source, key)
    if (spec === undefined) throw unknownKey(key, recipe, source)
    // What a person gives is text, also where it looks like `{name}`.
    const plain = (text: string): string => {
      const name = `given${values.size}`
      values.set(name, text)
      return `{${name}}`
    }
    const line: RecipeLine = [key, extraValue(key, text, spec, plain)]
    const at = lines.findIndex(([known]) => known === key)
    if (at < 0) lines.push(line)
    else lines[at] = line
  }
  return lines
}

function extraValue(key: string, text: string, spec: KeySpec, plain: (text: string) => string): RecipeValue {
  switch (spec.type) {
    case 'secret':
    case 'token':
      return reference(key, text, spec, plain)
    case 'patterns':
    case 'texts':
      return text.split(',').map(item => plain(item.trim()))
    case 'flag':
      return text === 'true' ? true : text === 'false' ? false : plain(text)
    case 'command':
    case 'params':
    case 'headers':
    case 'basic':
    case 'form':
    case 'json':
    case 'claims':
    case 'permissions':
      throw new TokctlError('usage', `--set cannot write ${key}, which is more than a text`, {
        hint: 'add the profile without it, and write it into the file',
      })
    default:
      return plain(text)
  }
}

// The text itself is not shown: it may be the secret.
function reference(key: string, text: string, spec: KeySpec, plain: (text: string) => string): RecipeValue {
  const [, form, name] = /^(env|file|secret|profile):(.+)$/.exec(text) ?? []
  if (form === undefined || name === undefined || (form === 'profile' && spec.type !== 'token')) {
    throw new TokctlError('usage', `${key} is a secret, and only where it is kept is written down`, {
      hint: `write --set ${key}=env:NAME, ${key}=file:PATH or ${key}=secret:NAME`,
    })
  }
  return { [form]: plain(name) }
}

function unknownKey(key: string, recipe: Recipe, source: SourceName): TokctlError {
  const known = [
    ...recipe.asks.map(ask => ask.key),
    ...Object.keys(sourceKeys[source]),
    ...Object.keys(commonKeys).filter(common => common !== 'source'),
  ]
  const meant = nearest(key, known)
  const keys = recipe.asks.map(ask => ask.key).join(', ')
  return new TokctlError(
    'usage',
    `--set: unknown key "${printable(key)}"${meant === undefined ? '' : `; did you mean ${meant}?`}`,
    { hint: `this provider asks for ${keys}` },
  )
}
