package sandbox_test

import (
	"context"
	"os"
	"testing"

	"sandbox.dev/sandbox"
)

// Sandboxes come and go; memory and descriptors do not. cmd/bench -soak does many more rounds.
func TestRounds(t *testing.T) {
	const rounds = 150
	everywhere(t, func(ctx context.Context, t *testing.T, maker sandbox.Creator) {
		round := func() {
			box, err := maker.Create(ctx)
			check(t, err)
			line(ctx, t, box, "true")
			reader, err := box.FS().Open(ctx, "/etc/passwd")
			check(t, err)
			_, err = reader.Read(make([]byte, 10))
			check(t, err)
			check(t, reader.Close())
			check(t, box.Close())
		}
		for range rounds / 5 {
			round()
		}
		memory, descriptors := residentMemory(t), openFiles(t)
		for range rounds {
			round()
		}
		eventually(t, "the descriptors are closed", func() bool { return openFiles(t) <= descriptors })
		if grown := residentMemory(t) - memory; grown > 8<<20 {
			t.Errorf("memory grew by %d KiB in %d rounds", grown>>10, rounds)
		}
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	return len(list)
}
