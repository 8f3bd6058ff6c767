package sandbox

import (
	"context"
	"io"
	"io/fs"
	"path"
	"time"
)

// IOFS is the files below root as an fs.FS: for fs.WalkDir, os.CopyFS, http.FileServerFS and whatever else takes one. ctx is
// for every use of it. Symlinks are followed inside the sandbox, root is no border for them.
func (f FS) IOFS(ctx context.Context, root string) fs.FS { return ioFS{f, ctx, root} }

type ioFS struct {
	files FS
	ctx   context.Context
	root  string
}

var (
	_ fs.StatFS     = ioFS{}
	_ fs.ReadDirFS  = ioFS{}
	_ fs.ReadFileFS = ioFS{}
)

// do gives the path inside to work, and its errors the form that io/fs wants.
func (f ioFS) do(what, name string, work func(path string) error) error {
	err := fs.ErrInvalid
	if fs.ValidPath(name) {
		err = work(path.Join(f.root, name))
	}
	if err != nil {
		return &fs.PathError{Op: what, Path: name, Err: err}
	}
	return nil
}

func (f ioFS) Open(name string) (file fs.File, err error) {
	err = f.do("open", name, func(inside string) error {
		info, err := f.files.Stat(f.ctx, inside)
		if err != nil {
			return err
		}
		if info.Type == TypeDirectory {
			file = &ioDirectory{info: ioInfo{info, path.Base(name)}, fs: f, name: name}
			return nil
		}
		reader, err := f.files.Open(f.ctx, inside)
		file = ioFile{reader, ioInfo{info, path.Base(name)}}
		return err
	})
	if err != nil {
		return nil, err
	}
	return file, nil
}

func (f ioFS) Stat(name string) (info fs.FileInfo, err error) {
	err = f.do("stat", name, func(inside string) error {
		found, err := f.files.Stat(f.ctx, inside)
		info = ioInfo{found, path.Base(name)}
		return err
	})
	return info, err
}

func (f ioFS) ReadFile(name string) (content []byte, err error) {
	err = f.do("read", name, func(inside string) error {
		content, err = f.files.Read(f.ctx, inside)
		return err
	})
	return content, err
}

func (f ioFS) ReadDir(name string) (entries []fs.DirEntry, err error) {
	err = f.do("readdir", name, func(inside string) error {
		list, err := f.files.List(f.ctx, inside)
		for _, info := range list {
			entries = append(entries, fs.FileInfoToDirEntry(ioInfo{info, info.Path}))
		}
		return err
	})
	return entries, err
}

// ioInfo is a FileInfo as io/fs wants it.
type ioInfo struct {
	info FileInfo
	name string
}

func (i ioInfo) Name() string       { return i.name }
func (i ioInfo) Size() int64        { return int64(i.info.Size) }
func (i ioInfo) Mode() fs.FileMode  { return i.info.Mode }
func (i ioInfo) ModTime() time.Time { return i.info.Modified }
func (i ioInfo) IsDir() bool        { return i.info.Type == TypeDirectory }
func (i ioInfo) Sys() any           { return i.info }

type ioFile struct {
	*Reader
	info ioInfo
}

func (f ioFile) Stat() (fs.FileInfo, error) { return f.info, nil }

type ioDirectory struct {
	info   ioInfo
	fs     ioFS
	name   string
	listed bool
	rest   []fs.DirEntry
}

func (d *ioDirectory) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *ioDirectory) Close() error               { return nil }
func (d *ioDirectory) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: invalid("it is a directory")}
}

// ReadDir is fs.ReadDirFile.
func (d *ioDirectory) ReadDir(count int) ([]fs.DirEntry, error) {
	if !d.listed {
		all, err := d.fs.ReadDir(d.name)
		if err != nil {
			return nil, err
		}
		d.listed, d.rest = true, all
	}
	if count <= 0 {
		count = len(d.rest)
	} else if len(d.rest) == 0 {
		return nil, io.EOF
	}
	count = min(count, len(d.rest))
	entries := d.rest[:count:count]
	d.rest = d.rest[count:]
	return entries, nil
}
