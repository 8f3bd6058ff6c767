/** `await using` needs these symbols, which the first releases of Node 20 lack. */
for (const name of ["dispose", "asyncDispose"] as const) {
  if (!Symbol[name]) Object.defineProperty(Symbol, name, { value: Symbol.for(`nodejs.${name}`) });
}
