package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"sandbox.dev/sandbox"
)

// The same program runs with a daemon: sandbox.Connect in place of sandbox.Open.
func Example() {
	ctx := context.Background()
	runtime, err := sandbox.Open(ctx, nil)
	if err != nil {
		panic(err)
	}
	defer runtime.Close()
	box, err := runtime.Create(ctx)
	if err != nil {
		panic(err)
	}
	defer box.Close()
	result, err := box.Process().Exec(ctx, sandbox.Shell("echo hello; exit 3"))
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s%v\n", result.Stdout, result)
	// Output:
	// hello
	// exited 3
}

func ExampleProcess_Exec() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	box, err := runtimeHere.Create(ctx, sandbox.Spec{Memory: 64 << 20})
	if err != nil {
		panic(err)
	}
	defer box.Close()
	var sorted strings.Builder
	_, err = box.Process().Exec(ctx, &sandbox.Command{
		Argv: []string{"sort"}, Stdin: strings.NewReader("b\na\n"), Stdout: &sorted,
	})
	fmt.Print(sorted.String(), err)
	// Output:
	// a
	// b
	// <nil>
}

func ExampleError() {
	ctx := context.Background()
	box, err := runtimeHere.Create(ctx)
	if err != nil {
		panic(err)
	}
	defer box.Close()
	_, err = box.FS().Read(ctx, "/nowhere")
	fmt.Println(errors.Is(err, sandbox.ErrNotFound), errors.Is(err, fs.ErrNotExist))
	var failed *sandbox.Error
	if errors.As(err, &failed) {
		fmt.Println(failed.Code.String(), failed.Retry)
	}
	// Output:
	// true true
	// not_found never
}

func ExampleFS_Open() {
	ctx := context.Background()
	box, err := runtimeHere.Create(ctx)
	if err != nil {
		panic(err)
	}
	defer box.Close()
	reader, err := box.FS().Open(ctx, "/etc/hostname")
	if err != nil {
		panic(err)
	}
	defer reader.Close()
	content, err := io.ReadAll(reader)
	fmt.Println(strings.TrimSpace(string(content)), err)
	// Output: sandbox <nil>
}
