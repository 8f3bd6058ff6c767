package sandbox_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"sandbox.dev/sandbox"
)

func TestIOFS(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		line(ctx, t, box, "mkdir -p tree/sub/deep; echo one > tree/one; echo two > tree/sub/two; : > tree/sub/deep/empty")
		tree := box.FS().IOFS(ctx, "/root/tree")
		check(t, fstest.TestFS(tree, "one", "sub/two", "sub/deep/empty"))
		if _, err := fs.Stat(tree, "none"); !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("not there: %v", err)
		}
		if _, err := tree.Open("../tree"); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("a name that leads out: %v", err)
		}
		target := filepath.Join(t.TempDir(), "copy")
		check(t, os.CopyFS(target, tree))
		content, err := os.ReadFile(filepath.Join(target, "sub", "two"))
		check(t, err)
		equal(t, "content", string(content), "two\n")
	})
}
