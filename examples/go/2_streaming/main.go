// Output as it comes, input while the program runs, and a terminal.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"sandbox.dev/sandbox"
)

// talk answers a program line by line.
func talk(ctx context.Context, box *sandbox.Sandbox) error {
	running, err := box.Process().Spawn(ctx, &sandbox.Command{
		Line:      `while read -r line; do echo "you said: $line"; done; echo bye`,
		OpenStdin: true,
	})
	if err != nil {
		return err
	}
	defer running.Close()
	stdin, stdout := running.Stdin(), bufio.NewScanner(running.Stdout())
	for _, word := range []string{"one", "two"} {
		fmt.Fprintln(stdin, word)
		stdout.Scan()
		fmt.Println(stdout.Text())
	}
	stdin.Close()
	for stdout.Scan() {
		fmt.Println(stdout.Text())
	}
	status, err := running.Wait(ctx)
	if err != nil {
		return err
	}
	fmt.Println(status)
	return nil
}

// pieces ranges over both streams.
func pieces(ctx context.Context, box *sandbox.Sandbox) error {
	running, err := box.Process().Spawn(ctx, sandbox.Shell("echo out; sleep 0.1; echo err >&2"))
	if err != nil {
		return err
	}
	defer running.Close()
	for chunk, err := range running.Output() {
		if err != nil {
			return err
		}
		fmt.Printf("%v: %s", chunk.Stream, chunk.Data)
	}
	return nil
}

// pipe runs a program between any reader and any writer.
func pipe(ctx context.Context, box *sandbox.Sandbox, from io.Reader, to io.Writer) error {
	result, err := box.Process().Exec(ctx, &sandbox.Command{Argv: []string{"tr", "a-z", "A-Z"}, Stdin: from, Stdout: to})
	if err == nil && !result.OK() {
		err = fmt.Errorf("tr: %v: %s", result.ExitStatus, result.Stderr)
	}
	return err
}

// terminal runs a program that sees a terminal.
func terminal(ctx context.Context, box *sandbox.Sandbox) error {
	running, err := box.Process().Spawn(ctx, &sandbox.Command{Line: "stty size", Terminal: &sandbox.TerminalSize{Rows: 24, Columns: 80}})
	if err != nil {
		return err
	}
	defer running.Close()
	_, err = io.Copy(os.Stdout, running.Stdout())
	return err
}

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
	for _, part := range []func(context.Context, *sandbox.Sandbox) error{talk, pieces, terminal} {
		if err := part(ctx, box); err != nil {
			return err
		}
	}
	return pipe(ctx, box, strings.NewReader("shout\n"), os.Stdout)
}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
