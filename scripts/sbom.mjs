// Prints the software bill of materials (CycloneDX) of what is published: what npm installs beside it, and what is inside.
// npm knows the bundled packages as tools of ours only; dist/THIRD-PARTY-LICENSES.txt names them.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const isDevelopment = ({ properties = [] }) =>
  properties.some(({ name, value }) => name === 'cdx:npm:package:development' && value === 'true')

const licences = readFileSync(join(root, 'dist', 'THIRD-PARTY-LICENSES.txt'), 'utf8')
const bundled = new Set([...licences.matchAll(/^(\S+ \d\S+) \(\S+\)$/gm)].map(([, name]) => name))

const npm = spawnSync('npm', ['sbom', '--sbom-format', 'cyclonedx', '--package-lock-only'], {
  cwd: root,
  encoding: 'utf8',
  maxBuffer: 64 << 20,
  shell: process.platform === 'win32',
})
if (npm.status !== 0) throw new Error(`npm sbom ended with ${npm.status}: ${npm.stderr}`)
const sbom = JSON.parse(npm.stdout)

const nameOf = ({ group, name, version }) => `${group === undefined ? name : `${group}/${name}`} ${version}`
sbom.components = sbom.components.filter(one => !isDevelopment(one) || bundled.has(nameOf(one)))
for (const one of sbom.components) {
  one.properties = one.properties?.filter(({ name }) => name !== 'cdx:npm:package:development')
}
const kept = new Set([sbom.metadata.component['bom-ref'], ...sbom.components.map(one => one['bom-ref'])])
sbom.dependencies = sbom.dependencies
  .filter(({ ref }) => kept.has(ref))
  .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn?.filter(one => kept.has(one)) }))
console.log(JSON.stringify(sbom, null, 2))
