type Schema = Readonly<Record<string, unknown>>

/**
 * Tells whether a value fits a JSON Schema, of draft 7 as much as the configuration's schema is written in. A word that is
 * not known here fails, so that nothing in it is passed over.
 */
export function fits(value: unknown, schema: Schema, root: Schema = schema): boolean {
  return Object.entries(schema).every(([word, content]) => {
    const rule = rules[word]
    if (rule === undefined) throw new Error(`the schema says "${word}", which is not known here`)
    return rule(value, content as never, schema, root)
  })
}

type Rule = (value: unknown, content: never, schema: Schema, root: Schema) => boolean

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isOf(value: unknown, type: string): boolean {
  if (type === 'object') return isObject(value)
  if (type === 'array') return Array.isArray(value)
  if (type === 'integer') return Number.isInteger(value)
  return typeof value === type
}

const always = (): boolean => true
const on =
  <T>(
    is: (value: unknown) => value is T,
    check: (value: T, content: never, schema: Schema, root: Schema) => boolean,
  ): Rule =>
  (value, content, schema, root) =>
    !is(value) || check(value, content, schema, root)
const isString = (value: unknown): value is string => typeof value === 'string'
const isNumber = (value: unknown): value is number => typeof value === 'number'
const isArray = (value: unknown): value is unknown[] => Array.isArray(value)

const rules: Readonly<Record<string, Rule>> = {
  $schema: always,
  title: always,
  description: always,
  definitions: always,
  $ref: (value, content: string, _, root) =>
    fits(value, (root['definitions'] as Record<string, Schema>)[content.split('/').at(-1)!]!, root),
  type: (value, content: string | string[]) => [content].flat().some(type => isOf(value, type)),
  enum: (value, content: unknown[]) => content.includes(value),
  const: (value, content: unknown) => value === content,
  pattern: on(isString, (value, content: string) => new RegExp(content, 'u').test(value)),
  minLength: on(isString, (value, content: number) => value.length >= content),
  minimum: on(isNumber, (value, content: number) => value >= content),
  maximum: on(isNumber, (value, content: number) => value <= content),
  items: on(isArray, (value, content: Schema, _, root) => value.every(item => fits(item, content, root))),
  minItems: on(isArray, (value, content: number) => value.length >= content),
  properties: on(isObject, (value, content: Record<string, Schema>, _, root) =>
    Object.entries(content).every(
      ([key, schema]) => !Object.hasOwn(value, key) || fits(value[key], schema, root),
    ),
  ),
  additionalProperties: on(isObject, (value, content: Schema | false, schema, root) =>
    Object.entries(value).every(
      ([key, item]) =>
        Object.hasOwn((schema['properties'] as object | undefined) ?? {}, key) ||
        (content !== false && fits(item, content, root)),
    ),
  ),
  propertyNames: on(isObject, (value, content: Schema, _, root) =>
    Object.keys(value).every(key => fits(key, content, root)),
  ),
  minProperties: on(isObject, (value, content: number) => Object.keys(value).length >= content),
  required: on(isObject, (value, content: string[]) => content.every(key => Object.hasOwn(value, key))),
  dependencies: on(isObject, (value, content: Record<string, string[]>) =>
    Object.entries(content).every(
      ([key, others]) => !Object.hasOwn(value, key) || others.every(other => Object.hasOwn(value, other)),
    ),
  ),
  allOf: (value, content: Schema[], _, root) => content.every(schema => fits(value, schema, root)),
  anyOf: (value, content: Schema[], _, root) => content.some(schema => fits(value, schema, root)),
  oneOf: (value, content: Schema[], _, root) =>
    content.filter(schema => fits(value, schema, root)).length === 1,
  not: (value, content: Schema, _, root) => !fits(value, content, root),
}
