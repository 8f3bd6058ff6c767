package sandbox

/*
#include <sandbox/c.h>
*/
import "C"

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// How calls wait. The library's work runs on threads of its own; no goroutine sits in a blocking C call for it, so no thread
// is held per operation. Ended operations report to one queue whose socket Go's poller watches, and one goroutine hands
// them out. (Waiting a moment in sbx_op_wait first was measured, and gained nothing; see direct.go for what does.)

// opQueue hands ended operations to the goroutines that wait for them.
type opQueue struct {
	queue *C.sbx_queue
	wake  *os.File

	mutex   sync.Mutex
	next    uint64
	waiting map[uint64]chan struct{}
}

var (
	theQueue = sync.OnceValues(newQueue)
	signals  = sync.Pool{New: func() any { return make(chan struct{}, 1) }}
)

func newQueue() (*opQueue, error) {
	var failed *C.sbx_error
	q := &opQueue{waiting: make(map[uint64]chan struct{})}
	if code := C.sbx_queue_new(&q.queue, &failed); code != C.SBX_OK {
		return nil, takeError(nil, code, failed)
	}
	fd, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(C.sbx_queue_fd(q.queue)), syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		C.sbx_queue_free(&q.queue)
		return nil, &Error{Code: CodeResourceExhausted, Operation: "go.queue", Message: errno.Error(), Errno: errno}
	}
	q.wake = os.NewFile(fd, "sandbox queue") // non-blocking: goes to the poller
	go q.run()
	return q, nil
}

// run lives as long as the process, as the queue does.
func (q *opQueue) run() {
	var bytes [256]byte
	var tags [256]C.uint64_t
	for {
		if _, err := q.wake.Read(bytes[:]); err != nil {
			panic("sandbox: the library's queue ended: " + err.Error())
		}
		for {
			count := int(C.sbx_queue_next(q.queue, &tags[0], C.size_t(len(tags))))
			q.mutex.Lock()
			for _, tag := range tags[:count] {
				if ended, ok := q.waiting[uint64(tag)]; ok {
					delete(q.waiting, uint64(tag))
					ended <- struct{}{}
				}
			}
			q.mutex.Unlock()
			if count < len(tags) {
				break
			}
		}
	}
}

// notify has ended receive one value when op ends.
func (q *opQueue) notify(op *C.sbx_op, ended chan struct{}) error {
	q.mutex.Lock()
	q.next++
	tag := q.next
	q.waiting[tag] = ended
	q.mutex.Unlock()
	var failed *C.sbx_error
	if code := C.sbx_op_notify(op, q.queue, C.uint64_t(tag), &failed); code != C.SBX_OK {
		q.mutex.Lock()
		delete(q.waiting, tag)
		q.mutex.Unlock()
		return takeError(nil, code, failed)
	}
	return nil
}

// await waits for the end of op. When ctx ends first, op is cancelled; it still ends by itself.
func await(ctx context.Context, op *C.sbx_op) error {
	if C.sbx_op_done(op) != 0 {
		return nil
	}
	q, err := theQueue()
	if err != nil {
		return err
	}
	ended := signals.Get().(chan struct{})
	if err := q.notify(op, ended); err != nil {
		return err
	}
	select {
	case <-ended:
	case <-ctx.Done():
		if !endsItself(ctx, ended) {
			C.sbx_op_cancel(op)
			<-ended
		}
	}
	signals.Put(ended)
	return nil
}

type deadlineKept struct{}

// keepsDeadline marks the context of an operation that has been told the deadline and says, when it gives up, what it
// waited for. A cancellation at the same moment would be in a race with that answer.
func keepsDeadline(ctx context.Context) context.Context {
	if ctx == nil {
		return nil
	}
	return context.WithValue(ctx, deadlineKept{}, true)
}

// endsItself waits for such an operation a little longer than its deadline.
func endsItself(ctx context.Context, ended chan struct{}) bool {
	if ctx.Value(deadlineKept{}) == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return false
	}
	late := time.NewTimer(time.Second)
	defer late.Stop()
	select {
	case <-ended:
		return true
	case <-late.C:
		return false
	}
}

type (
	starter = func(object unsafe.Pointer) *C.sbx_op
	taker   = func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code
)

// call runs one operation on the object of h. What start points to may end when it returns. A result that was there
// before ctx ended is given back, so that nothing is lost.
func call(ctx context.Context, h *handle, start starter, take taker) error {
	object, err := h.acquire()
	if err != nil {
		return err
	}
	defer h.release()
	err = run(ctx, func() *C.sbx_op { return start(object) }, take)
	h.markClosed(err)
	return err
}

// run is call for operations that need no object.
func run(ctx context.Context, start func() *C.sbx_op, take taker) error {
	if ctx == nil {
		return invalid("the context is nil")
	}
	if ctx.Err() != nil {
		return contextError(ctx)
	}
	op := start()
	if op == nil {
		return outOfMemory()
	}
	defer C.sbx_op_free(&op)
	if err := await(ctx, op); err != nil {
		return err
	}
	var failed *C.sbx_error
	if code := take(op, &failed); code != C.SBX_OK {
		return takeError(ctx, code, failed)
	}
	return nil
}

func takeNothing(op *C.sbx_op, failed **C.sbx_error) C.sbx_code { return C.sbx_op_take(op, failed) }

// direct is for calls of the library that do not wait.
func direct(h *handle, use func(object unsafe.Pointer, failed **C.sbx_error) C.sbx_code) error {
	object, err := h.acquire()
	if err != nil {
		return err
	}
	defer h.release()
	var failed *C.sbx_error
	code := use(object, &failed)
	return takeError(nil, code, failed)
}

// untilDeadline is the time ctx leaves, in the library's milliseconds, or 0, the default, when it sets none.
func untilDeadline(ctx context.Context) C.int64_t {
	if ctx == nil {
		return 0
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(1, millis(time.Until(deadline)))
}
