import type { Protocol } from './protocol.ts'

/** Every protocol, found by its name, one file each. */
export const protocols: Readonly<Record<string, () => Promise<{ readonly protocol: Protocol }>>> = {
  git: () => import('./git.ts'),
  docker: () => import('./docker.ts'),
  kubectl: () => import('./kubectl.ts'),
  aws: () => import('./aws.ts'),
  bazel: () => import('./bazel.ts'),
  cargo: () => import('./cargo.ts'),
  gcp: () => import('./gcp.ts'),
  goauth: () => import('./goauth.ts'),
  keyring: () => import('./keyring.ts'),
  pnpm: () => import('./pnpm.ts'),
  terraform: () => import('./terraform.ts'),
  vault: () => import('./vault.ts'),
}
