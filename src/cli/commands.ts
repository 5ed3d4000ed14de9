import type { Define } from './command.ts'

/** Every command, found by its name, one file each. */
export const commands: Readonly<Record<string, () => Promise<{ readonly define: Define }>>> = {
  get: () => import('./get.ts'),
  exec: () => import('./exec.ts'),
  refresh: () => import('./refresh.ts'),
  login: () => import('./login.ts'),
  logout: () => import('./logout.ts'),
  reject: () => import('./reject.ts'),
  status: () => import('./status.ts'),
  watch: () => import('./watch.ts'),
  ci: () => import('./ci.ts'),
  doctor: () => import('./doctor.ts'),
  prune: () => import('./prune.ts'),
  trust: () => import('./trust.ts'),
  untrust: () => import('./untrust.ts'),
  init: () => import('./init.ts'),
  proxy: () => import('./proxy.ts'),
  profile: () => import('./profile.ts'),
  helper: () => import('./helper.ts'),
  setup: () => import('./setup.ts'),
  secret: () => import('./secret.ts'),
  completion: () => import('./completion.ts'),
}
