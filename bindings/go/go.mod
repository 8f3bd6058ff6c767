module sandbox.dev/sandbox

go 1.25
