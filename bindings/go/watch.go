package sandbox

/*
#include <sandbox/c.h>
*/
import "C"

import (
	"context"
	"iter"
	"unsafe"
)

// Change is what happened to a file.
type Change int

// The changes.
const (
	Created    Change = 1
	Modified   Change = 2
	Removed    Change = 3
	Renamed    Change = 4
	Attributes Change = 5
	Overflow   Change = 6 // events were lost: look again
)

var changeNames = [...]string{"unknown", "created", "modified", "removed", "renamed", "attributes", "overflow"}

// String is "created", "modified", …, "unknown".
func (c Change) String() string {
	if c < 0 || int(c) >= len(changeNames) {
		c = 0
	}
	return changeNames[c]
}

// FileEvent is one change below a watched directory.
type FileEvent struct {
	Change  Change
	Type    FileType
	Path    string // absolute, inside
	OldPath string // of Renamed only
}

// Watch is changes below a directory, in order. Close it.
type Watch struct {
	handle *handle
	turn   turn
}

// Watch tells about changes below a directory from the moment it returns.
func (f FS) Watch(ctx context.Context, path string, recursive bool) (*Watch, error) {
	var watch *Watch
	err := f.box.take(ctx, func(box *C.sbx_sandbox) *C.sbx_op {
		return C.sbx_fs_watch_start(box, view(path), flag(recursive))
	}, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code {
		var made *C.sbx_watch
		code := C.sbx_op_take_watch(op, &made, failed)
		if code == C.SBX_OK {
			watch = &Watch{newHandle("watch", unsafe.Pointer(made), f.box.handle, func(object unsafe.Pointer) {
				watch := (*C.sbx_watch)(object)
				C.sbx_watch_free(&watch)
			}), newTurn()}
		}
		return code
	})
	return watch, err
}

func (w *Watch) core() *handle {
	if w == nil {
		return nil
	}
	return w.handle
}

// Next waits for the next change. When ctx ends nothing is lost.
func (w *Watch) Next(ctx context.Context) (FileEvent, error) {
	var event FileEvent
	if w.core() == nil {
		return event, invalid("this object was not made by the package's functions")
	}
	if err := w.turn.take(ctx); err != nil {
		return event, err
	}
	defer w.turn.give()
	err := call(ctx, w.handle, func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_watch_next_start((*C.sbx_watch)(object))
	}, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code {
		got := C.sbx_file_event{struct_size: C.sizeof_sbx_file_event}
		code := C.sbx_op_take_file_event(op, &got, failed)
		if code == C.SBX_OK { // the texts are the op's
			event = FileEvent{Change(got.change), FileType(got._type), goString(got.path), goString(got.old_path)}
		}
		return code
	})
	return event, err
}

// All is for range: every change from now on, up to the first error, which comes last.
func (w *Watch) All(ctx context.Context) iter.Seq2[FileEvent, error] {
	return func(yield func(FileEvent, error) bool) {
		for {
			event, err := w.Next(ctx)
			if !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// Close ends the watch, and a Next that waits. A second Close does nothing.
func (w *Watch) Close() error {
	return w.core().close(func(object unsafe.Pointer) error {
		C.sbx_watch_close((*C.sbx_watch)(object))
		return nil
	})
}
