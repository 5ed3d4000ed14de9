export { defineUntrust as define } from './trust.ts'
