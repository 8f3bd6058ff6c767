package sandbox_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"sandbox.dev/sandbox"
)

func TestFiles(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		files := box.FS()
		content := []byte("line\x00 with a zero\n")
		check(t, files.Write(ctx, "/root/a/b/c.txt", content, sandbox.MakeParents(), sandbox.Mode(0o640)))
		got, err := files.Read(ctx, "/root/a/b/c.txt")
		check(t, err)
		equal(t, "content", string(got), string(content))
		check(t, files.Write(ctx, "/root/a/b/c.txt", []byte("more"), sandbox.Append()))
		got, err = files.ReadRange(ctx, "/root/a/b/c.txt", uint64(len(content)), 100)
		check(t, err)
		equal(t, "range", string(got), "more")
		if _, err := files.ReadMax(ctx, "/root/a/b/c.txt", 3); !errors.Is(err, sandbox.ErrResourceExhausted) {
			t.Errorf("read beyond the limit: %v", err)
		}
		info, err := files.Stat(ctx, "/root/a/b/c.txt")
		check(t, err)
		equal(t, "mode", info.Mode, fs.FileMode(0o640))
		equal(t, "type", info.Type, sandbox.TypeRegular)
		equal(t, "size", info.Size, uint64(len(content)+4))
		if time.Since(info.Modified).Abs() > time.Hour {
			t.Errorf("modified %v", info.Modified)
		}
		check(t, files.Symlink(ctx, "c.txt", "/root/a/b/link"))
		info, err = files.Lstat(ctx, "/root/a/b/link")
		check(t, err)
		equal(t, "target", info.Target, "c.txt")
		equal(t, "mode of a symlink", info.Mode.Type(), fs.ModeSymlink)
		check(t, files.Mkdir(ctx, "/root/a/dir/deep"))
		copied, err := files.Copy(ctx, "/root/a/b/c.txt", "/root/a/dir/copy")
		check(t, err)
		equal(t, "copied", copied, uint64(len(content)+4))
		check(t, files.Rename(ctx, "/root/a/dir/copy", "/root/a/dir/renamed"))
		check(t, files.Chmod(ctx, "/root/a/dir/renamed", 0o700|fs.ModeSetuid))
		info, err = files.Stat(ctx, "/root/a/dir/renamed")
		check(t, err)
		equal(t, "mode with setuid", info.Mode, 0o700|fs.ModeSetuid)
		list, err := files.List(ctx, "/root/a/dir")
		check(t, err)
		equal(t, "entries", len(list), 2)
		equal(t, "first entry", list[0].Path, "deep")
		equal(t, "mode of a directory", list[0].Mode.IsDir(), true)
		found, err := files.Find(ctx, "/root", "**/*.txt", &sandbox.FindOptions{Type: sandbox.TypeRegular})
		check(t, err)
		equal(t, "found", len(found), 1)
		equal(t, "found path", found[0].Path, "a/b/c.txt")
		exists, err := files.Exists(ctx, "/root/a")
		check(t, err)
		equal(t, "exists", exists, true)
		check(t, files.Remove(ctx, "/root/a/b/link"))
		check(t, files.RemoveAll(ctx, "/root/a"))
		check(t, files.RemoveAll(ctx, "/root/a"))
		exists, err = files.Exists(ctx, "/root/a")
		check(t, err)
		equal(t, "exists", exists, false)
		empty, err := files.Read(ctx, "/dev/null")
		if !errors.Is(err, sandbox.ErrInvalidArgument) {
			t.Errorf("a device: %v %v", empty, err)
		}
	})
}

func TestUploadDownload(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		source, target := t.TempDir(), filepath.Join(t.TempDir(), "back")
		check(t, os.MkdirAll(filepath.Join(source, "sub"), 0o755))
		check(t, os.WriteFile(filepath.Join(source, "sub", "file"), []byte("travels"), 0o600))
		moved, err := box.FS().Upload(ctx, source, "/root/tree")
		check(t, err)
		equal(t, "bytes", moved.Bytes, 7)
		_, err = box.FS().Download(ctx, "/root/tree", target)
		check(t, err)
		content, err := os.ReadFile(filepath.Join(target, "sub", "file"))
		check(t, err)
		equal(t, "content", string(content), "travels")
	})
}

func TestTar(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		writer, err := box.FS().CreateTar(ctx, "/root/in")
		check(t, err)
		packed := tar.NewWriter(writer)
		check(t, packed.WriteHeader(&tar.Header{Name: "dir/file", Mode: 0o644, Size: 6}))
		_, err = packed.Write([]byte("packed"))
		check(t, err)
		check(t, packed.Close())
		moved, err := writer.Finish()
		check(t, err)
		equal(t, "bytes", moved.Bytes, 6)
		reader, err := box.FS().OpenTar(ctx, "/root/in")
		check(t, err)
		defer reader.Close()
		names := map[string]string{}
		for unpacked := tar.NewReader(reader); ; {
			header, err := unpacked.Next()
			if err == io.EOF {
				break
			}
			check(t, err)
			content, err := io.ReadAll(unpacked)
			check(t, err)
			names[filepath.Clean(header.Name)] = string(content)
		}
		equal(t, "content", names["dir/file"], "packed")
	})
}

// 64 MiB each way, with a reader and a writer that never hold more than a few pieces.
func TestLargeFile(t *testing.T) {
	const size = 64 << 20
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		sent, received := sha256.New(), sha256.New()
		before := residentMemory(t)
		writer, err := box.FS().Create(ctx, "/tmp/large")
		check(t, err)
		count, err := io.Copy(writer, io.TeeReader(io.LimitReader(rand.Reader, size), sent))
		check(t, err)
		equal(t, "written", count, size)
		check(t, writer.Close())
		reader, err := box.FS().Open(ctx, "/tmp/large")
		check(t, err)
		defer reader.Close()
		count, err = io.Copy(received, reader)
		check(t, err)
		equal(t, "read", count, size)
		if !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
			t.Fatal("other bytes came back")
		}
		if grown := residentMemory(t) - before; grown > 40<<20 {
			t.Errorf("memory grew by %d MiB", grown>>20)
		}
	})
}

// residentMemory is what this process uses now, with all garbage gone.
func residentMemory(t *testing.T) int {
	t.Helper()
	runtime.GC()
	runtime.GC()
	return statusLine(t, "VmRSS:") << 10
}

func TestAbort(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		check(t, box.FS().Write(ctx, "/root/a", []byte("old")))
		writer, err := box.FS().Create(ctx, "/root/a")
		check(t, err)
		_, err = writer.Write([]byte("new"))
		check(t, err)
		check(t, writer.Abort())
		if _, err := writer.Write([]byte("x")); !errors.Is(err, sandbox.ErrFailedPrecondition) || !errors.Is(err, fs.ErrClosed) {
			t.Errorf("write after abort: %v", err)
		}
		if err := writer.Close(); !errors.Is(err, sandbox.ErrFailedPrecondition) {
			t.Errorf("close after abort: %v", err)
		}
		content, err := box.FS().Read(ctx, "/root/a")
		check(t, err)
		equal(t, "content", string(content), "old")

		doomed, cancel := context.WithCancel(ctx)
		writer, err = box.FS().Create(doomed, "/root/a")
		check(t, err)
		_, err = writer.Write([]byte("new"))
		check(t, err)
		cancel()
		if err := writer.Close(); !errors.Is(err, context.Canceled) || !errors.Is(err, sandbox.ErrCancelled) {
			t.Errorf("close after the end of the context: %v", err)
		}
		content, err = box.FS().Read(ctx, "/root/a")
		check(t, err)
		equal(t, "content", string(content), "old")
		reader, err := box.FS().Open(ctx, "/nowhere")
		check(t, err)
		if _, err := reader.Read(make([]byte, 1)); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("a reader of nothing: %v", err)
		}
		check(t, reader.Close())
		check(t, reader.Close())
		if _, err := reader.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("a closed reader: %v", err)
		}
	})
}

func TestWatch(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		watch, err := box.FS().Watch(ctx, "/root", true)
		check(t, err)
		defer watch.Close()
		check(t, box.FS().Mkdir(ctx, "/root/sub"))
		for event, err := range watch.All(ctx) {
			check(t, err)
			if event.Change == sandbox.Created && event.Path == "/root/sub" {
				break
			}
		}
		line(ctx, t, box, "mv /root/sub /root/moved")
		for event, err := range watch.All(ctx) {
			check(t, err)
			if event.Change == sandbox.Renamed {
				equal(t, "old path", event.OldPath, "/root/sub")
				equal(t, "path", event.Path, "/root/moved")
				break
			}
		}
		waiting := make(chan error, 1)
		go func() {
			for {
				if _, err := watch.Next(ctx); err != nil {
					waiting <- err
					return
				}
			}
		}()
		check(t, watch.Close())
		if err := <-waiting; !errors.Is(err, fs.ErrClosed) {
			t.Errorf("closed while somebody waits: %v", err)
		}
	})
}
