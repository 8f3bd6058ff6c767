package sandbox

/*
#include <sandbox/c.h>
*/
import "C"

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"unsafe"
	"weak"
)

// Streams, too, go the short way (direct.go) while there are few: maxStreams threads at most wait in the library. Closing a
// stream ends such a wait, so the end of a context closes.
const maxStreams = 2

var streams = make(chan struct{}, maxStreams)

// transfer runs one step of a stream: blocking if there is room for it, else as an operation.
func transfer(ctx context.Context, h *handle, block func(unsafe.Pointer, **C.sbx_error) C.sbx_code, start starter, take taker) error {
	if ctx.Err() != nil {
		return contextError(ctx)
	}
	select {
	case streams <- struct{}{}:
	default:
		return call(ctx, h, start, take)
	}
	defer func() { <-streams }()
	object, err := h.acquire()
	if err != nil {
		return err
	}
	defer h.release()
	var failed *C.sbx_error
	if code := block(object, &failed); code != C.SBX_OK {
		err = takeError(ctx, code, failed)
		h.markClosed(err)
	}
	return err
}

// pieceSize bounds what one call hands to the library, which copies it.
const pieceSize = 512 << 10

// Reader is a file's content, or a directory's as a tar stream, at the reader's pace: what is not read waits in the sandbox,
// and memory stays bounded whatever the size. For one goroutine at a time, but Close may come from any. Close it.
type Reader struct {
	ctx     context.Context
	unwatch func() bool
	handle  *handle
	mutex   sync.Mutex
	piece   *piece
	rest    []byte // of the piece
	err     error
}

// endWith closes a stream when ctx ends, without keeping it from the garbage collector until then.
func endWith(ctx context.Context, stream *handle, end func(object unsafe.Pointer)) (stop func() bool) {
	target := weak.Make(stream)
	return context.AfterFunc(ctx, func() {
		if h := target.Value(); h != nil {
			if object, err := h.acquire(); err == nil {
				end(object)
				h.release()
			}
		}
	})
}

// piece is bytes of the library that a Reader has not given out yet.
type piece struct{ bytes *C.sbx_bytes }

func (p *piece) free() { C.sbx_bytes_free(&p.bytes) }

// Open reads a file. ctx is for the whole reading: when it ends, so does a Read that waits. What is wrong with path shows
// with the first Read.
func (f FS) Open(ctx context.Context, path string) (*Reader, error) {
	return f.open(ctx, func(box *C.sbx_sandbox, made **C.sbx_reader, failed **C.sbx_error) C.sbx_code {
		return C.sbx_fs_open_reader(box, view(path), made, failed)
	})
}

// OpenTar reads a directory as a tar stream, like Open.
func (f FS) OpenTar(ctx context.Context, path string) (*Reader, error) {
	return f.open(ctx, func(box *C.sbx_sandbox, made **C.sbx_reader, failed **C.sbx_error) C.sbx_code {
		return C.sbx_fs_open_tar_reader(box, view(path), made, failed)
	})
}

func (f FS) open(ctx context.Context, open func(*C.sbx_sandbox, **C.sbx_reader, **C.sbx_error) C.sbx_code) (*Reader, error) {
	if ctx == nil {
		return nil, invalid("the context is nil")
	}
	var reader *Reader
	err := direct(f.box.core(), func(object unsafe.Pointer, failed **C.sbx_error) C.sbx_code {
		var made *C.sbx_reader
		code := open((*C.sbx_sandbox)(object), &made, failed)
		if code == C.SBX_OK {
			reader = &Reader{ctx: ctx, piece: new(piece), handle: newHandle("reader", unsafe.Pointer(made), f.box.handle, freeReader)}
			runtime.AddCleanup(reader, func(left *piece) { left.free() }, reader.piece)
			reader.unwatch = endWith(ctx, reader.handle, func(object unsafe.Pointer) { C.sbx_reader_close((*C.sbx_reader)(object)) })
		}
		return code
	})
	return reader, err
}

func freeReader(object unsafe.Pointer) {
	reader := (*C.sbx_reader)(object)
	C.sbx_reader_free(&reader)
}

// fill makes rest not empty. The mutex is held.
func (r *Reader) fill() error {
	for len(r.rest) == 0 {
		if r.err != nil {
			return r.err
		}
		r.piece.free()
		var bytes *C.sbx_bytes
		err := transfer(r.ctx, r.handle, func(object unsafe.Pointer, failed **C.sbx_error) C.sbx_code {
			return C.sbx_reader_read((*C.sbx_reader)(object), &bytes, failed)
		}, func(object unsafe.Pointer) *C.sbx_op {
			return C.sbx_reader_read_start((*C.sbx_reader)(object))
		}, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code { return C.sbx_op_take_bytes(op, &bytes, failed) })
		switch {
		case err != nil:
			r.err = err
		case bytes == nil:
			r.err = io.EOF
		default:
			r.piece.bytes = bytes
			r.rest = lentBytes(bytes)
		}
	}
	return nil
}

// Read is io.Reader. Errors: those of FS; corrupt when fewer bytes came than the file had.
func (r *Reader) Read(buffer []byte) (int, error) {
	if r == nil || r.handle == nil {
		return 0, invalid("this object was not made by the package's functions")
	}
	if len(buffer) == 0 {
		return 0, nil
	}
	r.mutex.Lock()
	defer r.unlock()
	if err := r.fill(); err != nil {
		return 0, err
	}
	count := copy(buffer, r.rest)
	r.rest = r.rest[count:]
	return count, nil
}

// WriteTo is io.WriterTo: for io.Copy without a buffer between.
func (r *Reader) WriteTo(target io.Writer) (int64, error) {
	if r == nil || r.handle == nil {
		return 0, invalid("this object was not made by the package's functions")
	}
	r.mutex.Lock()
	defer r.unlock()
	var total int64
	for {
		if err := r.fill(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		count, err := target.Write(r.rest)
		if count < 0 || count > len(r.rest) {
			return total, errors.New("sandbox: the writer returned an impossible count")
		}
		total += int64(count)
		short := count < len(r.rest)
		r.rest = r.rest[count:]
		if err != nil {
			return total, err
		}
		if short {
			return total, io.ErrShortWrite
		}
	}
}

// Close ends the transfer, and a Read that waits. A second Close does nothing.
func (r *Reader) Close() error {
	if r == nil || r.handle == nil {
		return invalid("this object was not made by the package's functions")
	}
	return r.handle.close(func(object unsafe.Pointer) error {
		r.unwatch()
		C.sbx_reader_close((*C.sbx_reader)(object))
		if r.mutex.TryLock() { // else whoever reads does the rest; that may be a Writer that calls us
			r.unlock()
		}
		return nil
	})
}

func (r *Reader) unlock() {
	if r.handle.isClosed() {
		r.rest = nil
		r.piece.free()
		r.err = closedError("reader")
	}
	r.mutex.Unlock()
}

// Writer is content on its way into a file, or a tar stream into a directory. A file takes its place only with Close, and
// only if every Write succeeded and the context goes on: before that, Abort leaves the old content. Entries of a tar that
// were extracted stay. For one goroutine at a time, but Abort may come from any.
type Writer struct {
	ctx     context.Context
	unwatch func() bool
	handle  *handle
	mutex   sync.Mutex
	err     error
	moved   Transfer
	ended   bool
}

// Create writes a file. ctx is for the whole writing: when it ends, the file keeps its old content. What is wrong with path
// shows with a Write or with Close.
func (f FS) Create(ctx context.Context, path string, options ...WriteOption) (*Writer, error) {
	return f.create(ctx, func(box *C.sbx_sandbox, made **C.sbx_writer, failed **C.sbx_error) C.sbx_code {
		return C.sbx_fs_open_writer(box, view(path), lendWriteOptions(options), made, failed)
	})
}

// CreateTar extracts a tar stream (ustar, pax, GNU) into a directory.
func (f FS) CreateTar(ctx context.Context, path string) (*Writer, error) {
	return f.create(ctx, func(box *C.sbx_sandbox, made **C.sbx_writer, failed **C.sbx_error) C.sbx_code {
		return C.sbx_fs_open_tar_writer(box, view(path), made, failed)
	})
}

func (f FS) create(ctx context.Context, open func(*C.sbx_sandbox, **C.sbx_writer, **C.sbx_error) C.sbx_code) (*Writer, error) {
	if ctx == nil {
		return nil, invalid("the context is nil")
	}
	var writer *Writer
	err := direct(f.box.core(), func(object unsafe.Pointer, failed **C.sbx_error) C.sbx_code {
		var made *C.sbx_writer
		code := open((*C.sbx_sandbox)(object), &made, failed)
		if code == C.SBX_OK {
			writer = &Writer{ctx: ctx, handle: newHandle("writer", unsafe.Pointer(made), f.box.handle, func(object unsafe.Pointer) {
				writer := (*C.sbx_writer)(object)
				C.sbx_writer_free(&writer)
			})}
			writer.unwatch = endWith(ctx, writer.handle, func(object unsafe.Pointer) { C.sbx_writer_close((*C.sbx_writer)(object)) })
		}
		return code
	})
	return writer, err
}

// Write is io.Writer: it waits while the sandbox has not taken enough of what was written before.
func (w *Writer) Write(content []byte) (int, error) {
	if w == nil || w.handle == nil {
		return 0, invalid("this object was not made by the package's functions")
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	written := 0
	for written < len(content) {
		if w.err != nil {
			return written, w.err
		}
		part := content[written:min(written+pieceSize, len(content))]
		if w.err = transfer(w.ctx, w.handle, func(object unsafe.Pointer, failed **C.sbx_error) C.sbx_code {
			return C.sbx_writer_write((*C.sbx_writer)(object), viewBytes(part), failed)
		}, func(object unsafe.Pointer) *C.sbx_op {
			return C.sbx_writer_write_start((*C.sbx_writer)(object), viewBytes(part))
		}, takeNothing); w.err == nil {
			written += len(part)
		}
	}
	return written, w.err
}

// ReadFrom is io.ReaderFrom: for io.Copy in pieces of a good size.
func (w *Writer) ReadFrom(source io.Reader) (int64, error) {
	buffer := make([]byte, pieceSize)
	var total int64
	for {
		count, err := io.ReadAtLeast(source, buffer, len(buffer)/2)
		if count > 0 {
			written, failed := w.Write(buffer[:count])
			total += int64(written)
			if failed != nil {
				return total, failed
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// Close waits until everything is in place. After a Write that failed it aborts, and returns that error. A second Close
// returns what the first one did.
func (w *Writer) Close() error {
	_, err := w.Finish()
	return err
}

// Finish is Close, and tells what was moved.
func (w *Writer) Finish() (Transfer, error) {
	if w == nil || w.handle == nil {
		return Transfer{}, invalid("this object was not made by the package's functions")
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.ended {
		return w.moved, w.err
	}
	if w.err == nil {
		w.err = call(w.ctx, w.handle, func(object unsafe.Pointer) *C.sbx_op {
			return C.sbx_writer_finish_start((*C.sbx_writer)(object))
		}, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code { return takeTransfer(op, &w.moved, failed) })
	}
	w.ended = true
	_ = w.drop() // ends what did not finish; the error is w.err
	return w.moved, w.err
}

// Abort leaves the old content, and ends a Write that waits. After Close it does nothing.
func (w *Writer) Abort() error {
	if w == nil || w.handle == nil {
		return invalid("this object was not made by the package's functions")
	}
	return w.drop()
}

func (w *Writer) drop() error {
	return w.handle.close(func(object unsafe.Pointer) error {
		w.unwatch()
		C.sbx_writer_close((*C.sbx_writer)(object))
		return nil
	})
}
