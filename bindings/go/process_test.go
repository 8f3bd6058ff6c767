package sandbox_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sandbox.dev/sandbox"
)

func TestExec(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		result, err := box.Process().Exec(ctx, sandbox.Shell("echo out; echo err >&2; exit 3"))
		check(t, err)
		equal(t, "cause", result.Cause, sandbox.Exited)
		equal(t, "exit code", result.ExitCode, 3)
		equal(t, "shell code", result.ShellCode(), 3)
		equal(t, "stdout", string(result.Stdout), "out\n")
		equal(t, "stderr", string(result.Stderr), "err\n")
		equal(t, "text", result.String(), "exited 3")
		if result.WallTime <= 0 || result.StdoutBytes != 4 || result.StderrBytes != 4 {
			t.Errorf("status %+v", result.ExitStatus)
		}
		result, err = box.Process().Exec(ctx, sandbox.Program("printf", "%s|", "a b", "$HOME", "", "ü"))
		check(t, err)
		equal(t, "arguments", string(result.Stdout), "a b|$HOME||ü|")
		result, err = box.Process().Exec(ctx, &sandbox.Command{
			Line: "pwd; env; cat; echo err >&2", ClearEnv: true, Env: map[string]string{"X": "1"}, Workdir: "/tmp",
			Stdin: strings.NewReader("input\n"), MergeStderr: true,
		})
		check(t, err)
		for _, part := range []string{"/tmp\n", "X=1\n", "input\n", "err\n"} {
			if !strings.Contains(string(result.Stdout), part) {
				t.Errorf("no %q in %q", part, result.Stdout)
			}
		}
		result, err = box.Process().Exec(ctx, &sandbox.Command{Line: "sleep 60", Timeout: 50 * time.Millisecond})
		check(t, err)
		equal(t, "cause", result.Cause, sandbox.TimedOut)
		equal(t, "name of the cause", result.Cause.String(), "timed_out")
		equal(t, "shell code", result.ShellCode(), 124)
		result, err = box.Process().Exec(ctx, sandbox.Shell("kill -TERM $$"))
		check(t, err)
		equal(t, "cause", result.Cause, sandbox.Signalled)
		equal(t, "signal", result.Signal, syscall.SIGTERM)
		result, err = box.Process().Exec(ctx, &sandbox.Command{Line: "printf 0123456789", MaxOutput: 4})
		check(t, err)
		equal(t, "kept", string(result.Stdout), "0123")
		equal(t, "dropped", result.StdoutDropped, 6)
		result, err = box.Process().Exec(ctx, &sandbox.Command{Line: "printf 0123456789", MaxOutput: sandbox.NoOutput})
		check(t, err)
		equal(t, "kept", len(result.Stdout), 0)
	})
}

func TestExecWriters(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		var out bytes.Buffer
		const size = 8 << 20
		result, err := box.Process().Exec(ctx, &sandbox.Command{
			Line: "cat; echo err >&2", Stdin: io.LimitReader(repeat('x'), size), Stdout: &out,
		})
		check(t, err)
		equal(t, "ok", result.OK(), true)
		equal(t, "through a program", out.Len(), size)
		equal(t, "stderr", string(result.Stderr), "err\n")
		result, err = box.Process().Exec(ctx, &sandbox.Command{Line: "printf 0123456789", Stderr: io.Discard, MaxOutput: 4})
		check(t, err)
		equal(t, "kept", string(result.Stdout), "0123")
		equal(t, "dropped", result.StdoutDropped, 6)
		result, err = box.Process().Exec(ctx, &sandbox.Command{Line: "true", Stdin: repeat('x')})
		check(t, err)
		equal(t, "a program that does not read", result.OK(), true)
		boom := errors.New("boom")
		if _, err = box.Process().Exec(ctx, &sandbox.Command{Line: "cat /dev/zero", Stdout: failing{boom}}); !errors.Is(err, boom) {
			t.Errorf("a writer that fails: %v", err)
		}
	})
}

type repeat byte

func (r repeat) Read(buffer []byte) (int, error) {
	for i := range buffer {
		buffer[i] = byte(r)
	}
	return len(buffer), nil
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestSpawn(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		running, err := box.Process().Spawn(ctx, &sandbox.Command{Line: "while read line; do echo got $line; echo e $line >&2; done; exit 7", OpenStdin: true})
		check(t, err)
		defer running.Close()
		if running.PID() <= 1 {
			t.Errorf("pid %d", running.PID())
		}
		stdin, stdout, stderr := running.Stdin(), bufio.NewReader(running.Stdout()), running.Stderr()
		for i := range 3 {
			fmt.Fprintf(stdin, "line %d\n", i)
			text, err := stdout.ReadString('\n')
			check(t, err)
			equal(t, "echo", text, fmt.Sprintf("got line %d\n", i))
		}
		check(t, stdin.Close())
		if _, err := stdout.ReadByte(); err != io.EOF {
			t.Fatalf("after the end: %v", err)
		}
		rest, err := io.ReadAll(stderr)
		check(t, err)
		equal(t, "stderr, kept meanwhile", string(rest), "e line 0\ne line 1\ne line 2\n")
		status, err := running.Wait(ctx)
		check(t, err)
		equal(t, "exit code", status.ExitCode, 7)
		status, err = running.Wait(ctx)
		check(t, err)
		equal(t, "exit code again", status.ExitCode, 7)
		if _, err := stdin.Write([]byte("x")); !errors.Is(err, sandbox.ErrFailedPrecondition) {
			t.Errorf("write after the end: %v", err)
		}
	})
}

func TestOutputRange(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		running, err := box.Process().Spawn(ctx, sandbox.Shell("echo one; echo two >&2; echo three"))
		check(t, err)
		defer running.Close()
		streams := map[sandbox.Stream]string{}
		for chunk, err := range running.Output() {
			check(t, err)
			streams[chunk.Stream] += string(chunk.Data)
		}
		equal(t, "stdout", streams[sandbox.Stdout], "one\nthree\n")
		equal(t, "stderr", streams[sandbox.Stderr], "two\n")
	})
}

// A program that fills both streams cannot make the binding keep more than a bit of what nobody reads.
func TestBothPipes(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		const size = 16 << 20
		running, err := box.Process().Spawn(ctx, sandbox.Shell(fmt.Sprintf("head -c %d /dev/zero >&2 & head -c %d /dev/zero; wait", size, size)))
		check(t, err)
		defer running.Close()
		out, errs := running.Stdout(), running.Stderr()
		var group sync.WaitGroup
		for _, reader := range []io.Reader{out, errs} {
			group.Go(func() {
				if count, err := io.Copy(io.Discard, reader); err != nil || count != size {
					t.Errorf("read %d: %v", count, err)
				}
			})
		}
		group.Wait()
		lone, err := box.Process().Spawn(ctx, sandbox.Shell(fmt.Sprintf("head -c %d /dev/zero >&2; echo end", size)))
		check(t, err)
		defer lone.Close()
		text, err := io.ReadAll(lone.Stdout()) // nobody asked for the other
		check(t, err)
		equal(t, "stdout", string(text), "end\n")
		stuck, err := box.Process().Spawn(ctx, sandbox.Shell(fmt.Sprintf("head -c %d /dev/zero >&2; echo end", size)))
		check(t, err)
		stuck.Stderr()
		reading := make(chan error, 1)
		go func() {
			_, err := io.ReadAll(stuck.Stdout())
			reading <- err
		}()
		time.Sleep(100 * time.Millisecond) // let it come to a stop: nobody reads the other
		select {
		case err := <-reading:
			t.Fatalf("16 MiB went somewhere: %v", err)
		default:
		}
		check(t, stuck.Close())
		if err := <-reading; !errors.Is(err, sandbox.ErrFailedPrecondition) {
			t.Errorf("closed while somebody waits: %v", err)
		}
	})
}

func TestTerminal(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		running, err := box.Process().Spawn(ctx, &sandbox.Command{
			Line: "tty; stty size; read go; stty size", OpenStdin: true, Terminal: &sandbox.TerminalSize{Rows: 10, Columns: 40},
		})
		check(t, err)
		defer running.Close()
		out := bufio.NewReader(running.Stdout())
		expect := func(want string) {
			t.Helper()
			text, err := out.ReadString('\n')
			check(t, err)
			if !strings.HasPrefix(text, want) {
				t.Fatalf("%q, wanted %q", text, want)
			}
		}
		expect("/dev/")
		expect("10 40")
		check(t, running.Resize(sandbox.TerminalSize{Rows: 50, Columns: 132}))
		fmt.Fprintln(running.Stdin(), "go")
		expect("go")
		expect("50 132")
	})
}

func TestSignals(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		running, err := box.Process().Spawn(ctx, sandbox.Shell("trap 'echo hup; exit 4' HUP; echo ready; while :; do sleep 0.05; done"))
		check(t, err)
		defer running.Close()
		out := bufio.NewReader(running.Stdout())
		text, err := out.ReadString('\n')
		check(t, err)
		equal(t, "first line", text, "ready\n")
		check(t, running.Signal(syscall.SIGHUP))
		text, err = out.ReadString('\n')
		check(t, err)
		equal(t, "second line", text, "hup\n")
		status, err := running.Wait(ctx)
		check(t, err)
		equal(t, "exit code", status.ExitCode, 4)
		if err := running.Resize(sandbox.TerminalSize{Rows: 1, Columns: 1}); !errors.Is(err, sandbox.ErrFailedPrecondition) {
			t.Errorf("resize without a terminal: %v", err)
		}
		killed, err := box.Process().Spawn(ctx, sandbox.Shell("sleep 600"))
		check(t, err)
		defer killed.Close()
		check(t, killed.Kill())
		status, err = killed.Wait(ctx)
		check(t, err)
		equal(t, "cause", status.Cause, sandbox.Killed)
	})
}
