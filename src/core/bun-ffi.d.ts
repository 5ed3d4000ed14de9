// The part of Bun's own modules that is used; its types would bring a second set of Node's.

/** Of the runtime itself. */
declare namespace Bun {
  const unsafe: {
    /** By how much its compilers begin later than usual, from here on; 1 is usual. */
    setJITPolicy(scale: number): void
  }
}

declare module 'bun:ffi' {
  /** An address. */
  type Pointer = number & { readonly address: unique symbol }
  interface Kinds {
    int: number
    usize: number
    ptr: Pointer
  }
  interface Signature {
    readonly args: readonly (keyof Kinds)[]
    readonly returns: keyof Kinds
  }
  type Call<S extends Signature> = (
    ...args: { -readonly [I in keyof S['args']]: Kinds[S['args'][I]] }
  ) => Kinds[S['returns']]

  export function dlopen<const Symbols extends Readonly<Record<string, Signature>>>(
    library: string,
    symbols: Symbols,
  ): { readonly symbols: { readonly [Name in keyof Symbols]: Call<Symbols[Name]> } }
  export function ptr(memory: Uint8Array): Pointer
  export const read: { i32(at: Pointer, offset: number): number }
}

declare module 'fs-native-extensions/prebuilds/win32-x64/fs-native-extensions.node' {
  const addon: import('./lock.ts').LockCalls
  export default addon
}
