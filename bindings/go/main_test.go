package sandbox_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"sandbox.dev/sandbox"
)

// Every test runs on a runtime of this process and on a sandboxd of its own; both last as long as the tests.
var (
	runtimeHere *sandbox.Runtime
	daemon      *daemonProcess
	clientThere *sandbox.Client
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		scratch, err := os.MkdirTemp("", "sandbox-go-")
		if err != nil {
			return fail(err)
		}
		defer os.RemoveAll(scratch)
		os.Setenv("SANDBOX_STATE_DIR", filepath.Join(scratch, "default")) // of those who name none
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if runtimeHere, err = sandbox.Open(ctx, &sandbox.RuntimeOptions{StateDirectory: filepath.Join(scratch, "state")}); err != nil {
			return fail(err)
		}
		defer runtimeHere.Close()
		if daemon, err = startDaemon(ctx, filepath.Join(scratch, "daemon")); err != nil {
			return fail(err)
		}
		defer daemon.stop()
		if clientThere, err = sandbox.Connect(ctx, daemon.endpoint, nil); err != nil {
			return fail(err)
		}
		defer clientThere.Close()
		return m.Run()
	}())
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// daemonProcess is a sandboxd on a scratch socket.
type daemonProcess struct {
	endpoint string
	process  *exec.Cmd
	ended    chan struct{}
	log      *bytes.Buffer // once it has ended
}

func startDaemon(ctx context.Context, directory string) (*daemonProcess, error) {
	program := filepath.Join(os.Getenv("SANDBOX_BIN_DIR"), "sandboxd")
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}
	config := filepath.Join(directory, "config.toml")
	socket := filepath.Join(directory, "d.sock")
	text := fmt.Sprintf("[server]\nsocket = %q\ndata_dir = %q\n[limits]\nmax_sandboxes = 400\nmax_memory = \"4096g\"\n"+
		"max_cpu = 4096.0\ncreate_rate_limit = 0\nallow_host_paths = true\n[pool]\ntotal_warm = 1\nmax_warm = 4\n",
		socket, filepath.Join(directory, "data"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	d := &daemonProcess{endpoint: "unix://" + socket, process: exec.Command(program, "--config", config), ended: make(chan struct{}), log: new(bytes.Buffer)}
	d.process.Stdout, d.process.Stderr = d.log, d.log
	d.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := d.process.Start(); err != nil {
		return nil, fmt.Errorf("%w; SANDBOX_BIN_DIR must hold the helper programs and sandboxd", err)
	}
	go func() {
		_ = d.process.Wait()
		close(d.ended)
	}()
	for {
		client, err := sandbox.Connect(ctx, d.endpoint, nil)
		if err == nil {
			return d, client.Close()
		}
		select {
		case <-time.After(20 * time.Millisecond):
			continue
		case <-d.ended:
		case <-ctx.Done():
		}
		d.stop()
		return nil, fmt.Errorf("sandboxd did not come up: %w\n%s", err, d.log)
	}
}

func (d *daemonProcess) stop() {
	_ = d.process.Process.Signal(syscall.SIGTERM)
	<-d.ended
}

// everywhere runs a test on the runtime and on the daemon.
func everywhere(t *testing.T, test func(ctx context.Context, t *testing.T, maker sandbox.Creator)) {
	t.Helper()
	for name, maker := range map[string]sandbox.Creator{"embedded": runtimeHere, "daemon": clientThere} {
		t.Run(name, func(t *testing.T) {
			// Whoever hangs ends before go test does; with the race detector, and others beside, some take their time.
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
			defer cancel()
			test(ctx, t, maker)
		})
	}
}

// inBox runs a test in a sandbox of the runtime and in one of the daemon.
func inBox(t *testing.T, test func(ctx context.Context, t *testing.T, box *sandbox.Sandbox)) {
	t.Helper()
	everywhere(t, func(ctx context.Context, t *testing.T, maker sandbox.Creator) {
		test(ctx, t, create(ctx, t, maker))
	})
}

func create(ctx context.Context, t *testing.T, maker sandbox.Creator, options ...sandbox.CreateOption) *sandbox.Sandbox {
	t.Helper()
	box, err := maker.Create(ctx, options...)
	check(t, err)
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return box
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// line runs a shell line that must succeed.
func line(ctx context.Context, t *testing.T, box *sandbox.Sandbox, text string) string {
	t.Helper()
	result, err := box.Process().Exec(ctx, sandbox.Shell(text))
	check(t, err)
	if !result.OK() {
		t.Fatalf("%q: %v: %s", text, result.ExitStatus, result.Stderr)
	}
	return string(result.Stdout)
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s is %#v, wanted %#v", what, got, want)
	}
}

// eventually waits for what nothing announces.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
