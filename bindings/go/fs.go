package sandbox

/*
#include <sandbox/c.h>
*/
import "C"

import (
	"context"
	"errors"
	"io/fs"
	"time"
)

// FS is the files of one sandbox, as the user inside sees them. Paths are absolute, without NUL and at most 4095 bytes.
// Regular files only: FIFOs, devices and sockets are refused with invalid_argument, never opened. Copy freely.
//
// Errors of every call: not_found, permission_denied, invalid_argument (path, kind), resource_exhausted (quota).
type FS struct{ box *Sandbox }

// FileType is the kind of a file.
type FileType int

// The kinds.
const (
	TypeUnknown   FileType = 0
	TypeRegular   FileType = 1
	TypeDirectory FileType = 2
	TypeSymlink   FileType = 3
	TypeFIFO      FileType = 4
	TypeSocket    FileType = 5
	TypeCharacter FileType = 6
	TypeBlock     FileType = 7
)

var typeNames = [...]string{"unknown", "regular", "directory", "symlink", "fifo", "socket", "character", "block"}

var typeModes = [...]fs.FileMode{
	fs.ModeIrregular, 0, fs.ModeDir, fs.ModeSymlink, fs.ModeNamedPipe, fs.ModeSocket, fs.ModeDevice | fs.ModeCharDevice, fs.ModeDevice,
}

// String is "regular", "directory", …, "unknown".
func (t FileType) String() string {
	if t < 0 || int(t) >= len(typeNames) {
		t = TypeUnknown
	}
	return typeNames[t]
}

// FileInfo is what is known about a file.
type FileInfo struct {
	Path     string // List: the name; Find: below the root asked; Stat: as asked
	Type     FileType
	Size     uint64
	Mode     fs.FileMode // with the bits of its type
	UID, GID uint32      // as seen inside
	Modified time.Time
	Target   string // of a symlink
}

func newFileInfo(info *C.sbx_file_info) FileInfo {
	kind := FileType(info._type)
	if kind < 0 || int(kind) >= len(typeModes) {
		kind = TypeUnknown
	}
	mode := fs.FileMode(info.mode)&fs.ModePerm | typeModes[kind]
	for bit, means := range map[C.uint32_t]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if info.mode&bit != 0 {
			mode |= means
		}
	}
	return FileInfo{
		Path: goString(info.path), Type: kind, Size: uint64(info.size), Mode: mode, UID: uint32(info.uid), GID: uint32(info.gid),
		Modified: time.Unix(0, int64(info.modified_ns)), Target: goString(info.target),
	}
}

// unixMode is the other way, for permissions that are given.
func unixMode(mode fs.FileMode) C.uint32_t {
	bits := C.uint32_t(mode & fs.ModePerm)
	if mode&fs.ModeSetuid != 0 {
		bits |= 0o4000
	}
	if mode&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if mode&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

// Transfer is what a transfer moved.
type Transfer struct {
	Entries uint64
	Bytes   uint64
	Skipped uint64 // devices, sockets and FIFOs left out
}

// WriteOption changes how a file is written. Without any it is replaced atomically: readers see the old or the new content.
type WriteOption func(*writeOptions)

type writeOptions struct {
	append, exclusive, makeParents bool
	mode                           fs.FileMode
}

// Append adds to the end.
func Append() WriteOption { return func(o *writeOptions) { o.append = true } }

// Exclusive fails with already_exists instead of replacing.
func Exclusive() WriteOption { return func(o *writeOptions) { o.exclusive = true } }

// MakeParents creates missing directories.
func MakeParents() WriteOption { return func(o *writeOptions) { o.makeParents = true } }

// Mode sets the permissions of the file; default 0644, or the existing file's.
func Mode(mode fs.FileMode) WriteOption { return func(o *writeOptions) { o.mode = mode } }

func lendWriteOptions(options []WriteOption) *C.sbx_write_options {
	var all writeOptions
	for _, option := range options {
		if option != nil {
			option(&all)
		}
	}
	return &C.sbx_write_options{
		struct_size: C.sizeof_sbx_write_options, append: flag(all.append), exclusive: flag(all.exclusive),
		make_parents: flag(all.makeParents), mode: unixMode(all.mode),
	}
}

// Read is a whole file of at most 1 GiB; Open is for larger ones.
func (f FS) Read(ctx context.Context, path string) ([]byte, error) { return f.ReadMax(ctx, path, 0) }

// ReadMax is a whole file of at most limit bytes; beyond them it fails with resource_exhausted.
func (f FS) ReadMax(ctx context.Context, path string, limit uint64) ([]byte, error) {
	bytes, err := f.box.bytes(ctx, func(box *C.sbx_sandbox) *C.sbx_op {
		return C.sbx_fs_read_start(box, view(path), C.uint64_t(limit))
	})
	if err != nil {
		return nil, err
	}
	return takeBytes(bytes), nil
}

// ReadRange is at most length bytes from offset.
func (f FS) ReadRange(ctx context.Context, path string, offset, length uint64) ([]byte, error) {
	bytes, err := f.box.bytes(ctx, func(box *C.sbx_sandbox) *C.sbx_op {
		return C.sbx_fs_read_range_start(box, view(path), C.uint64_t(offset), C.uint64_t(length))
	})
	if err != nil {
		return nil, err
	}
	return takeBytes(bytes), nil
}

// Write creates or replaces a file.
func (f FS) Write(ctx context.Context, path string, content []byte, options ...WriteOption) error {
	return f.box.do(ctx, func(box *C.sbx_sandbox) *C.sbx_op {
		return C.sbx_fs_write_start(box, view(path), viewBytes(content), lendWriteOptions(options))
	})
}

// Upload copies a file or directory of this host into the sandbox.
func (f FS) Upload(ctx context.Context, hostPath, path string) (Transfer, error) {
	return f.transfer(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_fs_upload_start(box, view(hostPath), view(path)) })
}

// Download copies a file or directory out of the sandbox; nothing is written outside hostPath, whatever is inside.
func (f FS) Download(ctx context.Context, path, hostPath string) (Transfer, error) {
	return f.transfer(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_fs_download_start(box, view(path), view(hostPath)) })
}

func (f FS) transfer(ctx context.Context, start func(*C.sbx_sandbox) *C.sbx_op) (Transfer, error) {
	var moved Transfer
	err := f.box.take(ctx, start, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code { return takeTransfer(op, &moved, failed) })
	return moved, err
}

func takeTransfer(op *C.sbx_op, moved *Transfer, failed **C.sbx_error) C.sbx_code {
	got := C.sbx_transfer{struct_size: C.sizeof_sbx_transfer}
	code := C.sbx_op_take_transfer(op, &got, failed)
	*moved = Transfer{uint64(got.entries), uint64(got.bytes), uint64(got.skipped)}
	return code
}

// List is the entries of a directory, sorted by name.
func (f FS) List(ctx context.Context, path string) ([]FileInfo, error) {
	return f.files(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_fs_list_start(box, view(path)) })
}

// FindOptions narrows Find. Its zero value finds everything.
type FindOptions struct {
	Type       FileType // TypeUnknown: any
	MaxDepth   uint32   // 0: no limit
	MaxResults uint64   // 0: no limit
}

// Find is the files below root that match a glob: * ? [..] within a name, ** across directories. Sorted. options may be nil.
func (f FS) Find(ctx context.Context, root, pattern string, options *FindOptions) ([]FileInfo, error) {
	return f.files(ctx, func(box *C.sbx_sandbox) *C.sbx_op {
		lent := &C.sbx_find_options{struct_size: C.sizeof_sbx_find_options}
		if options != nil {
			lent._type, lent.max_depth = C.sbx_file_type(options.Type), C.uint32_t(options.MaxDepth)
			lent.max_results = C.uint64_t(options.MaxResults)
		}
		return C.sbx_fs_find_start(box, view(root), view(pattern), lent)
	})
}

// Stat tells about a file; of a symlink, about what it leads to.
func (f FS) Stat(ctx context.Context, path string) (FileInfo, error) { return f.stat(ctx, path, true) }

// Lstat tells about a file; of a symlink, about itself.
func (f FS) Lstat(ctx context.Context, path string) (FileInfo, error) {
	return f.stat(ctx, path, false)
}

// Exists says whether there is something at path.
func (f FS) Exists(ctx context.Context, path string) (bool, error) {
	_, err := f.stat(ctx, path, true)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (f FS) stat(ctx context.Context, path string, follow bool) (FileInfo, error) {
	files, err := f.files(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_fs_stat_start(box, view(path), flag(follow)) })
	if err != nil {
		return FileInfo{}, err
	}
	if len(files) != 1 {
		return FileInfo{}, &Error{Code: CodeInternal, Operation: "go.stat", Message: "not one answer"}
	}
	return files[0], nil
}

func (f FS) files(ctx context.Context, start func(*C.sbx_sandbox) *C.sbx_op) ([]FileInfo, error) {
	var list *C.sbx_file_list
	if err := f.box.take(ctx, start, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code {
		return C.sbx_op_take_files(op, &list, failed)
	}); err != nil {
		return nil, err
	}
	defer C.sbx_file_list_free(&list)
	files := make([]FileInfo, int(C.sbx_file_list_size(list)))
	for i := range files {
		info := C.sbx_file_info{struct_size: C.sizeof_sbx_file_info}
		var failed *C.sbx_error
		if code := C.sbx_file_list_at(list, C.size_t(i), &info, &failed); code != C.SBX_OK {
			return nil, takeError(nil, code, failed)
		}
		files[i] = newFileInfo(&info)
	}
	return files, nil
}

// Mkdir creates a directory and its missing parents; an existing directory is fine.
func (f FS) Mkdir(ctx context.Context, path string) error {
	return f.box.do(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_fs_mkdir_start(box, view(path)) })
}

// Remove deletes a file, symlink or empty directory.
func (f FS) Remove(ctx context.Context, path string) error {
	return f.box.do(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_fs_remove_start(box, view(path), 0) })
}

// RemoveAll deletes a whole tree; not there is fine.
func (f FS) RemoveAll(ctx context.Context, path string) error {
	return f.box.do(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_fs_remove_start(box, view(path), 1) })
}

// Rename moves a file or directory.
func (f FS) Rename(ctx context.Context, from, to string) error {
	return f.box.do(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_fs_rename_start(box, view(from), view(to)) })
}

// Copy copies a file or a whole directory, and says how many bytes.
func (f FS) Copy(ctx context.Context, from, to string) (uint64, error) {
	var count C.uint64_t
	err := f.box.take(ctx, func(box *C.sbx_sandbox) *C.sbx_op {
		return C.sbx_fs_copy_start(box, view(from), view(to))
	}, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code { return C.sbx_op_take_count(op, &count, failed) })
	return uint64(count), err
}

// Symlink makes path lead to target.
func (f FS) Symlink(ctx context.Context, target, path string) error {
	return f.box.do(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_fs_symlink_start(box, view(target), view(path)) })
}

// Chmod sets permissions.
func (f FS) Chmod(ctx context.Context, path string, mode fs.FileMode) error {
	return f.box.do(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_fs_chmod_start(box, view(path), unixMode(mode)) })
}
