module sandbox.dev/examples

go 1.25

require sandbox.dev/sandbox v0.0.0

replace sandbox.dev/sandbox => ../../bindings/go
