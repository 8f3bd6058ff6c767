package sandbox_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sandbox.dev/sandbox"
)

var errCause = errors.New("had enough")

func TestCancel(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		doomed, cancel := context.WithCancelCause(ctx)
		go func() {
			eventually(t, "the program runs", func() bool {
				there, err := box.FS().Exists(ctx, "/tmp/running")
				return err == nil && there
			})
			cancel(errCause)
		}()
		start := time.Now()
		_, err := box.Process().Exec(doomed, sandbox.Shell("touch /tmp/running; sleep 55"))
		if !errors.Is(err, sandbox.ErrCancelled) || !errors.Is(err, context.Canceled) || !errors.Is(err, errCause) {
			t.Fatalf("cancelled: %v", err)
		}
		if time.Since(start) > 30*time.Second {
			t.Errorf("it took %v", time.Since(start))
		}
		eventually(t, "the program is gone", func() bool {
			return !strings.Contains(line(ctx, t, box, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"), "sleep 55")
		})
		if _, err := box.Process().Exec(doomed, sandbox.Shell("touch /tmp/never")); !errors.Is(err, context.Canceled) {
			t.Errorf("in an ended context: %v", err)
		}
		there, err := box.FS().Exists(ctx, "/tmp/never")
		check(t, err)
		equal(t, "ran in an ended context", there, false)
		late, cancelLate := context.WithTimeout(ctx, 30*time.Millisecond)
		defer cancelLate()
		_, err = box.Process().Exec(late, sandbox.Shell("sleep 55"))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after a deadline: %v", err)
		}
		line(ctx, t, box, "true") // the sandbox is as good as before
	})
}

// A cancelled wait for a listener leaves the port free.
func TestCancelExpose(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		for _, delay := range []time.Duration{0, 50 * time.Millisecond} {
			doomed, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(delay, func() { cancel(errCause) })
			if _, err := box.Net().Expose(doomed, 8000, 0); !errors.Is(err, sandbox.ErrCancelled) || !errors.Is(err, errCause) {
				t.Errorf("cancelled: %v", err)
			}
			short, done := context.WithTimeout(ctx, 200*time.Millisecond)
			_, err := box.Net().Expose(short, 8000, 0)
			done()
			if !errors.Is(err, sandbox.ErrDeadlineExceeded) { // and not that it is exposed already
				t.Errorf("after a cancelled one: %v", err)
			}
		}
	})
}

// Nothing of a stream is lost when a read of it is cancelled.
func TestCancelRead(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		running, err := box.Process().Spawn(ctx, &sandbox.Command{Line: "cat", OpenStdin: true})
		check(t, err)
		defer running.Close()
		var got strings.Builder
		for i := range 20 {
			short, cancel := context.WithTimeout(ctx, time.Duration(i)*200*time.Microsecond)
			sent := make(chan error, 1)
			go func() { sent <- running.Write(ctx, []byte(strconv.Itoa(i)+" ")) }()
			chunk, err := running.Read(short)
			cancel()
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			got.Write(chunk.Data)
			check(t, <-sent)
		}
		check(t, running.CloseStdin())
		for {
			chunk, err := running.Read(ctx)
			if err == io.EOF {
				break
			}
			check(t, err)
			got.Write(chunk.Data)
		}
		equal(t, "echo", got.String(), "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 ")
	})
}

// The end of Spawn's context is the end of the program, even when nobody reads.
func TestCancelSpawn(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		doomed, cancel := context.WithCancel(ctx)
		running, err := box.Process().Spawn(doomed, sandbox.Shell("sleep 600"))
		check(t, err)
		defer running.Close()
		cancel()
		status, err := running.Wait(ctx)
		check(t, err)
		equal(t, "cause", status.Cause, sandbox.Killed)
		if _, err := running.Stdout().Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
			t.Errorf("read: %v", err)
		}
	})
}

func threads(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	check(t, err)
	return len(tasks)
}

func statusLine(t *testing.T, key string) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	check(t, err)
	_, rest, _ := strings.Cut(string(text), key)
	value, err := strconv.Atoi(strings.Fields(rest)[0])
	check(t, err)
	return value
}

// Two hundred programs that run at once hold goroutines, not threads.
func TestManyAtOnce(t *testing.T) {
	everywhere(t, func(ctx context.Context, t *testing.T, maker sandbox.Creator) {
		box := create(ctx, t, maker, sandbox.Spec{PIDs: 1000, Memory: 1 << 30})
		holder, err := box.Process().Spawn(ctx, &sandbox.Command{Line: "exec flock /tmp/lock sh -c 'echo held; read end'", OpenStdin: true})
		check(t, err)
		defer holder.Close()
		held := make([]byte, 5)
		_, err = io.ReadFull(holder.Stdout(), held)
		check(t, err)
		before := threads(t)
		const count = 200
		var ended atomic.Int32
		var group sync.WaitGroup
		for i := range count {
			group.Go(func() {
				result, err := box.Process().Exec(ctx, &sandbox.Command{
					Line: "touch /tmp/at.$N; flock -s /tmp/lock echo $N", Env: map[string]string{"N": strconv.Itoa(i)},
				})
				if err != nil || strings.TrimSpace(string(result.Stdout)) != strconv.Itoa(i) {
					t.Errorf("%d: %v %v", i, result, err)
				}
				ended.Add(1)
			})
		}
		eventually(t, "all run", func() bool {
			found, err := box.FS().Find(ctx, "/tmp", "at.*", nil)
			return err == nil && len(found) == count
		})
		during := threads(t)
		equal(t, "ended before the lock was given back", ended.Load(), 0)
		check(t, holder.CloseStdin())
		group.Wait()
		equal(t, "ended", int(ended.Load()), count)
		// Go itself adds a thread when a call into C, however short, is held up; with one per program it would be 200.
		if during > before+count/4 {
			t.Errorf("%d threads before, %d while %d programs ran", before, during, count)
		}
	})
}
