// The smallest program: one sandbox, one file, one command.
package main

import (
	"context"
	"fmt"
	"log"

	"sandbox.dev/sandbox"
)

func run(ctx context.Context) error {
	runtime, err := sandbox.Open(ctx, nil)
	if err != nil {
		return err
	}
	defer runtime.Close()
	box, err := runtime.Create(ctx)
	if err != nil {
		return err
	}
	defer box.Close()
	if err := box.FS().Write(ctx, "/root/main.py", []byte("print('hello')")); err != nil {
		return err
	}
	result, err := box.Process().Exec(ctx, sandbox.Program("python3", "/root/main.py"))
	if err != nil {
		return err
	}
	fmt.Printf("%s", result.Stdout) // hello
	return nil
}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
