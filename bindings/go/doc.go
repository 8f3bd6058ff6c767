// Package sandbox runs untrusted commands in isolated environments: inside this process's own runtime, or with a daemon.
//
//	runtime, err := sandbox.Open(ctx, nil)
//	defer runtime.Close()
//	box, err := runtime.Create(ctx)
//	defer box.Close()
//	err = box.FS().Write(ctx, "/root/main.py", []byte("print('hello')"))
//	result, err := box.Process().Exec(ctx, sandbox.Program("python3", "/root/main.py"))
//	fmt.Printf("%s", result.Stdout) // hello
//
// With a daemon, sandbox.Connect takes the place of sandbox.Open; the rest is the same.
//
// The package stands on the C interface of Sandbox (include/sandbox/c.h, libsandbox.so) through cgo. Building needs the
// header and the library: CGO_CFLAGS=-I… and CGO_LDFLAGS=-L…, or the tag sandbox_pkgconfig, which asks pkg-config.
//
// Contexts. Every call that may wait takes a context. When the context ends, the operation is cancelled, and the call fails
// with an error that is both ErrCancelled (or ErrDeadlineExceeded) and the context's own; unless its result was there
// already, which is then given. A call never returns before the library has let go of it, which takes no longer than a
// round trip. Where the library has a timeout of its own, a deadline of the context takes its place.
//
// Goroutines. Everything here may be used by several goroutines at once, if its documentation does not say otherwise. Calls
// that wait hold no thread of their own, however many there are.
//
// Lifetime. Whatever has Close should be closed; what is forgotten goes when the garbage collector finds it. Using an object
// after or during its Close is an error (ErrFailedPrecondition, fs.ErrClosed), nothing worse. What was made from an object
// keeps it alive.
package sandbox
