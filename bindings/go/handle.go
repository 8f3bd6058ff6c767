package sandbox

import (
	"runtime"
	"sync"
	"unsafe"
)

// handle counts who uses one object of the library. The object is freed when it is closed and nobody uses it any more, or
// when the garbage collector finds that nobody can; so a call that runs while another goroutine closes is never left with
// freed memory. Objects made from it count as users: they are freed first.
type handle struct {
	kind    string
	parent  *handle
	free    func(unsafe.Pointer)
	cleanup runtime.Cleanup

	mutex  sync.Mutex
	object unsafe.Pointer
	users  int
	closed bool
}

// leftover is what to do about a handle that was never closed.
type leftover struct {
	object unsafe.Pointer
	parent *handle
	free   func(unsafe.Pointer)
}

// newHandle owns object. Its parent must be in use by the caller.
func newHandle(kind string, object unsafe.Pointer, parent *handle, free func(unsafe.Pointer)) *handle {
	if parent != nil {
		parent.retain()
	}
	h := &handle{kind: kind, parent: parent, free: free, object: object}
	h.cleanup = runtime.AddCleanup(h, func(left leftover) {
		left.free(left.object)
		if left.parent != nil {
			left.parent.release()
		}
	}, leftover{object, parent, free})
	return h
}

// acquire lends the object until release. Errors: failed_precondition (closed), invalid_argument (never opened).
func (h *handle) acquire() (unsafe.Pointer, error) {
	if h == nil {
		return nil, invalid("this object was not made by the package's functions")
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.closed {
		return nil, closedError(h.kind)
	}
	h.users++
	return h.object, nil
}

func (h *handle) retain() {
	h.mutex.Lock()
	h.users++
	h.mutex.Unlock()
}

func (h *handle) release() {
	h.mutex.Lock()
	h.users--
	h.disposeIfDone()
}

// close lets no call begin any more and gives the object to end, which ends those under way. A second close does nothing.
func (h *handle) close(end func(object unsafe.Pointer) error) error {
	if h == nil {
		return invalid("this object was not made by the package's functions")
	}
	h.mutex.Lock()
	if h.closed {
		h.mutex.Unlock()
		return nil
	}
	h.closed = true
	h.users++
	h.mutex.Unlock()
	defer h.release()
	return end(h.object)
}

func (h *handle) isClosed() bool {
	if h == nil {
		return true
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.closed
}

// markClosed makes the error of a call that close ended fs.ErrClosed, too.
func (h *handle) markClosed(err error) {
	failed, ok := err.(*Error)
	if ok && (failed.Code == CodeCancelled || failed.Code == CodeFailedPrecondition) && h.isClosed() {
		failed.closed = true
	}
}

// disposeIfDone unlocks.
func (h *handle) disposeIfDone() {
	object := h.object
	done := h.closed && h.users == 0 && object != nil
	if done {
		h.object = nil
	}
	h.mutex.Unlock()
	if !done {
		return
	}
	h.cleanup.Stop()
	h.free(object)
	runtime.KeepAlive(h)
	if h.parent != nil {
		h.parent.release()
	}
}
