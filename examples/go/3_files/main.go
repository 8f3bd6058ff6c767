// Files: small ones at once, large ones as streams, directories as tar, and what changes.
package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"strings"

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
	files := box.FS()

	watch, err := files.Watch(ctx, "/root", false)
	if err != nil {
		return err
	}
	defer watch.Close()
	if err := files.Write(ctx, "/root/notes/one.txt", []byte("first\n"), sandbox.MakeParents(), sandbox.Mode(0o600)); err != nil {
		return err
	}
	change, err := watch.Next(ctx)
	if err != nil {
		return err
	}
	fmt.Println(change.Change, change.Path)

	if _, err := files.Read(ctx, "/root/nothing"); errors.Is(err, fs.ErrNotExist) {
		fmt.Println("not there")
	}

	// A large file, through a writer and a reader that hold only a piece of it. It takes its place with Close.
	writer, err := files.Create(ctx, "/tmp/large")
	if err != nil {
		return err
	}
	defer writer.Abort() // unless it was closed
	if _, err := io.Copy(writer, io.LimitReader(strings.NewReader(strings.Repeat("0123456789abcdef", 1<<20)), 16<<20)); err != nil {
		return err
	}
	if err := writer.Close(); err != nil {
		return err
	}
	reader, err := files.Open(ctx, "/tmp/large")
	if err != nil {
		return err
	}
	defer reader.Close()
	count, err := io.Copy(io.Discard, reader)
	if err != nil {
		return err
	}
	fmt.Println(count, "bytes")

	// A directory as a tar stream.
	packed, err := files.OpenTar(ctx, "/root/notes")
	if err != nil {
		return err
	}
	defer packed.Close()
	for archive := tar.NewReader(packed); ; {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if header.Typeflag == tar.TypeReg {
			fmt.Println("packed", header.Name)
		}
	}

	found, err := files.Find(ctx, "/root", "**/*.txt", nil)
	if err != nil {
		return err
	}
	for _, info := range found {
		fmt.Println(info.Mode, info.Size, info.Path)
	}
	return nil
}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
