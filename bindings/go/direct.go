package sandbox

/*
#include <sandbox/c.h>
*/
import "C"

import "context"

// Questions with short answers. An operation of its own costs two thread switches in the library, which are longer than
// such an answer takes; a blocking call has none: its thread reads the sandbox's socket itself. So up to maxDirect goroutines
// at a time call that way, and the others start operations. Only for what changes nothing: a context that ends leaves the
// blocking call behind, and nobody must be surprised by what it still does.
const maxDirect = 2

var directs = make(chan struct{}, maxDirect)

type blocking = func(box *C.sbx_sandbox, bytes **C.sbx_bytes, failed **C.sbx_error) C.sbx_code

type answer struct {
	bytes *C.sbx_bytes
	err   error
}

// ask is bytes, the short way if there is room on it.
func (s *Sandbox) ask(ctx context.Context, block blocking, start func(*C.sbx_sandbox) *C.sbx_op) (*C.sbx_bytes, error) {
	if ctx == nil || ctx.Err() != nil {
		return s.bytes(ctx, start) // says what is wrong
	}
	select {
	case directs <- struct{}{}:
	default:
		return s.bytes(ctx, start)
	}
	object, err := s.core().acquire()
	if err != nil {
		<-directs
		return nil, err
	}
	get := func() (given answer) {
		var failed *C.sbx_error
		if code := block((*C.sbx_sandbox)(object), &given.bytes, &failed); code != C.SBX_OK {
			given.err = takeError(nil, code, failed)
			s.handle.markClosed(given.err)
		}
		s.handle.release()
		<-directs
		return given
	}
	if ctx.Done() == nil {
		given := get()
		return given.bytes, given.err
	}
	answers := make(chan answer, 1)
	go func() { answers <- get() }()
	select {
	case given := <-answers:
		return given.bytes, given.err
	case <-ctx.Done():
		go func() {
			left := <-answers
			C.sbx_bytes_free(&left.bytes)
		}()
		return nil, contextError(ctx)
	}
}
