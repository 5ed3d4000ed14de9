import type { Tool } from './setup.ts'

/** Every tool that can be set up, found by its name. */
export const tools: Readonly<Record<string, () => Promise<Tool>>> = {
  git: async () => (await import('./git.ts')).tool,
  docker: async () => (await import('./docker.ts')).tool,
  kubectl: async () => (await import('./kubectl.ts')).tool,
  aws: async () => (await import('./aws.ts')).tool,
  gcp: async () => (await import('./gcp.ts')).tool,
  bazel: async () => (await import('./bazel.ts')).tool,
  cargo: async () => (await import('./cargo.ts')).tool,
  terraform: async () => (await import('./terraform.ts')).terraform,
  tofu: async () => (await import('./terraform.ts')).tofu,
  go: async () => (await import('./goauth.ts')).tool,
  pip: async () => (await import('./keyring.ts')).pip,
  uv: async () => (await import('./keyring.ts')).uv,
  pnpm: async () => (await import('./pnpm.ts')).tool,
  vault: async () => (await import('./vault.ts')).vault,
  bao: async () => (await import('./vault.ts')).bao,
}
