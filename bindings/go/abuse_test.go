package sandbox_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sandbox.dev/sandbox"
)

// Whatever a caller does wrong is an error with a code.

func typed(t *testing.T, what string, err error, codes ...sandbox.Code) {
	t.Helper()
	var failed *sandbox.Error
	if !errors.As(err, &failed) {
		t.Errorf("%s: %v", what, err)
		return
	}
	for _, code := range codes {
		if failed.Code == code {
			return
		}
	}
	t.Errorf("%s: %v, wanted %v", what, err, codes)
}

func TestNeverOpened(t *testing.T) {
	ctx := t.Context()
	const wanted = sandbox.CodeInvalidArgument
	for _, box := range []*sandbox.Sandbox{nil, {}} {
		_, _, err := box.Env().Get(ctx, "A")
		typed(t, "env", err, wanted)
		_, err = box.Process().Exec(ctx, sandbox.Shell("true"))
		typed(t, "exec", err, wanted)
		_, err = box.Process().Spawn(ctx, sandbox.Shell("true"))
		typed(t, "spawn", err, wanted)
		_, err = box.FS().Open(ctx, "/a")
		typed(t, "open", err, wanted)
		_, err = box.FS().Create(ctx, "/a")
		typed(t, "create", err, wanted)
		_, err = box.FS().Watch(ctx, "/a", false)
		typed(t, "watch", err, wanted)
		_, err = box.Net().Connect(ctx, 1)
		typed(t, "connect", err, wanted)
		_, err = box.Spec()
		typed(t, "spec", err, wanted)
		typed(t, "close", box.Close(), wanted)
		equal(t, "closed", box.Closed(), true)
		equal(t, "id", box.ID(), "")
	}
	for _, r := range []*sandbox.Runtime{nil, {}} {
		_, err := r.Create(ctx)
		typed(t, "create", err, wanted)
		_, err = r.Events()
		typed(t, "events", err, wanted)
		typed(t, "close", r.Close(), wanted)
	}
	for _, c := range []*sandbox.Client{nil, {}} {
		_, err := c.Health(ctx)
		typed(t, "health", err, wanted)
		typed(t, "close", c.Close(), wanted)
	}
	for _, p := range []*sandbox.RunningProcess{nil, {}} {
		_, err := p.Read(ctx)
		typed(t, "read", err, wanted)
		_, err = p.Wait(ctx)
		typed(t, "wait", err, wanted)
		_, err = p.Stdout().Read(make([]byte, 1))
		typed(t, "stdout", err, wanted)
		_, err = p.Stdin().Write([]byte("a"))
		typed(t, "stdin", err, wanted)
		for _, err := range p.Output() {
			typed(t, "output", err, wanted)
		}
		typed(t, "kill", p.Kill(), wanted)
		typed(t, "close", p.Close(), wanted)
	}
	_, err := (&sandbox.Reader{}).Read(make([]byte, 1))
	typed(t, "reader", err, wanted)
	_, err = (&sandbox.Writer{}).Write(nil)
	typed(t, "writer", err, wanted)
	_, err = (&sandbox.Watch{}).Next(ctx)
	typed(t, "watch", err, wanted)
	_, err = (&sandbox.EventStream{}).Next(ctx)
	typed(t, "events", err, wanted)
	_, err = runtimeHere.Create(nil) //nolint:staticcheck // that is the point
	typed(t, "no context", err, wanted)
	_, err = runtimeHere.Create(ctx, nil)
	typed(t, "no option", err, wanted)
}

func TestBadArguments(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		huge := strings.Repeat("x", 8<<20)
		for _, text := range []string{"a\x00b", huge, "", "\xff\xfe"} {
			_, err := box.FS().Read(ctx, text)
			typed(t, "path", err, sandbox.CodeInvalidArgument, sandbox.CodeNotFound)
			typed(t, "mkdir", box.FS().Mkdir(ctx, text), sandbox.CodeInvalidArgument)
		}
		for _, text := range []string{"a\x00b", huge, "", "a=b"} {
			typed(t, "name", box.Env().Set(ctx, text, "value"), sandbox.CodeInvalidArgument, sandbox.CodeResourceExhausted)
		}
		typed(t, "value", box.Env().Set(ctx, "A", "a\x00b"), sandbox.CodeInvalidArgument)
		typed(t, "value", box.Env().Set(ctx, "A", huge), sandbox.CodeInvalidArgument, sandbox.CodeResourceExhausted)
		for _, command := range []*sandbox.Command{
			nil, {}, {Line: "a\x00b"}, {Line: huge}, {Argv: []string{""}}, {Argv: []string{"true", "a\x00b"}}, {Argv: []string{"true", huge}},
			{Line: "true", Argv: []string{"true"}}, {Argv: make([]string, 100000)}, {Line: "true", Workdir: "relative"},
			{Line: "true", Env: map[string]string{"a=b": ""}}, {Line: "true", Timeout: -1 * time.Second},
			{Line: "true", IdempotencyKey: huge}, {Line: "true", OpenStdin: true},
		} {
			_, err := box.Process().Exec(ctx, command)
			typed(t, "exec", err, sandbox.CodeInvalidArgument, sandbox.CodeNotFound, sandbox.CodeResourceExhausted)
		}
		_, err := box.Process().Spawn(ctx, &sandbox.Command{Line: "true", Stdout: io.Discard})
		typed(t, "spawn with a writer", err, sandbox.CodeInvalidArgument)
		running, err := box.Process().Spawn(ctx, sandbox.Shell("sleep 60"))
		check(t, err)
		typed(t, "a write without OpenStdin", running.Write(ctx, []byte("a")), sandbox.CodeFailedPrecondition)
		typed(t, "signal", running.Signal(-1), sandbox.CodeInvalidArgument)
		typed(t, "signal", running.Signal(9999), sandbox.CodeInvalidArgument)
		check(t, running.Close())
		line(ctx, t, box, "true") // the sandbox is as good as before
	})
	ctx := t.Context()
	for _, spec := range []sandbox.Spec{
		{Image: "a\x00b"}, {Image: "no such image"}, {Memory: 1}, {CPUs: -1}, {Network: 77}, {Backend: "none"},
		{Env: map[string]string{"a=b": "c"}}, {Workdir: "relative"}, {Hostname: strings.Repeat("x", 1<<20)},
	} {
		_, err := runtimeHere.Create(ctx, spec)
		typed(t, "create", err, sandbox.CodeInvalidArgument, sandbox.CodeNotFound, sandbox.CodeUnsupported)
	}
	_, err := runtimeHere.Create(ctx, sandbox.CreateTimeout(-time.Second))
	typed(t, "create", err, sandbox.CodeInvalidArgument)
	_, err = sandbox.Open(ctx, &sandbox.RuntimeOptions{HelperDirectory: "/nowhere", StateDirectory: t.TempDir()})
	typed(t, "no helpers", err, sandbox.CodeNotFound)
}

func TestUseAfterClose(t *testing.T) {
	everywhere(t, func(ctx context.Context, t *testing.T, maker sandbox.Creator) {
		box, err := maker.Create(ctx)
		check(t, err)
		id := box.ID()
		running, err := box.Process().Spawn(ctx, sandbox.Shell("sleep 60"))
		check(t, err)
		reader, err := box.FS().Open(ctx, "/etc/passwd")
		check(t, err)
		check(t, box.Close())
		check(t, box.Close())
		equal(t, "id", box.ID(), id)
		equal(t, "closed", box.Closed(), true)
		_, _, err = box.Env().Get(ctx, "PATH")
		typed(t, "env", err, sandbox.CodeFailedPrecondition)
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("not fs.ErrClosed: %v", err)
		}
		_, err = box.FS().Create(ctx, "/root/a")
		typed(t, "create", err, sandbox.CodeFailedPrecondition)
		_, err = running.Wait(ctx)
		typed(t, "wait", err, sandbox.CodeFailedPrecondition, sandbox.CodeUnavailable, sandbox.CodeCancelled)
		_, err = io.ReadAll(reader)
		typed(t, "read", err, sandbox.CodeFailedPrecondition, sandbox.CodeUnavailable, sandbox.CodeCancelled)
		check(t, running.Close())
		check(t, running.Close())
		_, err = running.Wait(ctx)
		typed(t, "wait", err, sandbox.CodeFailedPrecondition)
		check(t, reader.Close())
	})
}

// Closing while other goroutines are at work ends their calls with errors, and nothing else.
func TestCloseMeanwhile(t *testing.T) {
	everywhere(t, func(ctx context.Context, t *testing.T, maker sandbox.Creator) {
		for round := range 5 {
			box, err := maker.Create(ctx)
			check(t, err)
			running, err := box.Process().Spawn(ctx, &sandbox.Command{Line: "cat /dev/zero", OpenStdin: true})
			check(t, err)
			var group sync.WaitGroup
			errs := make(chan error, 100)
			busy := func(work func() error) {
				group.Go(func() {
					for {
						if err := work(); err != nil {
							errs <- err
							return
						}
					}
				})
			}
			for range 4 {
				busy(func() error { _, _, err := box.Env().Get(ctx, "PATH"); return err })
				busy(func() error { _, err := box.FS().Read(ctx, "/etc/hostname"); return err })
				busy(func() error { _, err := box.Process().Exec(ctx, sandbox.Shell("sleep 0.01")); return err })
				busy(func() error { _, err := running.Read(ctx); return err })
				busy(func() error { return running.Write(ctx, make([]byte, 100000)) })
				busy(func() error { _, err := running.Wait(ctx); return err })
			}
			time.Sleep(time.Duration(round) * 10 * time.Millisecond) // a different moment each time
			if round%2 == 0 {
				go running.Close()
			}
			go box.Close()
			check(t, box.Close())
			check(t, running.Close())
			group.Wait()
			close(errs)
			for err := range errs {
				typed(t, "closed meanwhile", err, sandbox.CodeFailedPrecondition, sandbox.CodeCancelled, sandbox.CodeUnavailable, sandbox.CodeNotFound)
			}
		}
	})
}

// The same for everything else that has a Close.
func TestCloseStreamsMeanwhile(t *testing.T) {
	everywhere(t, func(ctx context.Context, t *testing.T, maker sandbox.Creator) {
		box := create(ctx, t, maker)
		line(ctx, t, box, "head -c 100000000 /dev/zero > /tmp/zeros")
		events, err := clientThere.Events(ctx)
		if maker == sandbox.Creator(runtimeHere) {
			events, err = runtimeHere.Events()
		}
		check(t, err)
		for round := range 10 {
			reader, err := box.FS().Open(ctx, "/tmp/zeros")
			check(t, err)
			tar, err := box.FS().OpenTar(ctx, "/tmp")
			check(t, err)
			writer, err := box.FS().Create(ctx, "/tmp/other")
			check(t, err)
			watch, err := box.FS().Watch(ctx, "/tmp", true)
			check(t, err)
			var group sync.WaitGroup
			busy := func(what string, work func() error) {
				group.Go(func() {
					for {
						if err := work(); err != nil {
							typed(t, what, err, sandbox.CodeFailedPrecondition, sandbox.CodeCancelled)
							return
						}
					}
				})
			}
			for range 2 { // two at a time is allowed, if pointless
				busy("read", func() error { _, err := reader.Read(make([]byte, 100000)); return err })
				busy("tar", func() error { _, err := tar.WriteTo(io.Discard); return err }) // at its end it writes nothing
				busy("write", func() error { _, err := writer.Write(make([]byte, 1000)); return err })
				busy("watch", func() error { _, err := watch.Next(ctx); return err })
				if round == 9 {
					busy("events", func() error { _, err := events.Next(ctx); return err })
				}
			}
			time.Sleep(time.Duration(round) * time.Millisecond) // a different moment each time
			for _, closing := range []func() error{reader.Close, tar.Close, writer.Abort, watch.Close} {
				go closing()
				check(t, closing())
			}
			if round == 9 {
				check(t, events.Close())
			}
			group.Wait()
		}
	})
}

// A writer may close the reader that it is fed from.
func TestCloseInside(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		line(ctx, t, box, "head -c 10000000 /dev/zero > /tmp/zeros")
		reader, err := box.FS().Open(ctx, "/tmp/zeros")
		check(t, err)
		_, err = io.Copy(closing{reader}, reader)
		typed(t, "copy", err, sandbox.CodeFailedPrecondition)
	})
}

type closing struct{ reader io.Closer }

func (c closing) Write(content []byte) (int, error) { return len(content), c.reader.Close() }

// What is forgotten goes: a sandbox nobody can reach is destroyed, and what is made from it keeps it alive.
func TestForgotten(t *testing.T) {
	ctx := t.Context()
	here, err := sandbox.Open(ctx, &sandbox.RuntimeOptions{StateDirectory: t.TempDir(), Launchers: 1})
	check(t, err)
	defer here.Close()
	process := func() *sandbox.RunningProcess {
		box, err := here.Create(ctx)
		check(t, err)
		process, err := box.Process().Spawn(ctx, sandbox.Shell("sleep 0.2; echo alive"))
		check(t, err)
		return process
	}()
	for range 5 {
		runtime.GC()
	}
	text, err := io.ReadAll(process.Stdout())
	check(t, err)
	equal(t, "output", string(text), "alive\n")
	live, err := here.Live()
	check(t, err)
	equal(t, "live", live, 1)
	runtime.KeepAlive(process) // until here
	process = nil
	eventually(t, "the forgotten sandbox is gone", func() bool {
		runtime.GC()
		live, err := here.Live()
		return err == nil && live == 0
	})
}
