package sandbox

/*
#include <sandbox/c.h>
*/
import "C"

import (
	"context"
	"strings"
	"time"
	"unsafe"
)

// Sandbox is a live sandbox; the same type whether it runs in this process's Runtime or behind a Client's daemon. Close it:
// one that is forgotten is destroyed when the garbage collector finds it, unless it came from Client.Open or was detached.
// Safe for concurrent use: operations run in parallel and do not wait for each other.
//
// Errors of every call besides its own: failed_precondition (closed, paused), unavailable (it ended by itself).
type Sandbox struct {
	handle *handle
	id     string
}

func newSandbox(made *C.sbx_sandbox, parent *handle) *Sandbox {
	return &Sandbox{newHandle("sandbox", unsafe.Pointer(made), parent, func(object unsafe.Pointer) {
		sandbox := (*C.sbx_sandbox)(object)
		C.sbx_sandbox_free(&sandbox)
	}), goString(C.sbx_sandbox_id(made))}
}

// takeSandbox runs an operation of a runtime or client that gives a sandbox.
func takeSandbox(ctx context.Context, parent *handle, start starter) (*Sandbox, error) {
	var box *Sandbox
	err := call(ctx, parent, start, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code {
		var made *C.sbx_sandbox
		code := C.sbx_op_take_sandbox(op, &made, failed)
		if code == C.SBX_OK {
			box = newSandbox(made, parent)
		}
		return code
	})
	return box, err
}

func (s *Sandbox) core() *handle {
	if s == nil {
		return nil
	}
	return s.handle
}

// do runs an operation that only succeeds or fails.
func (s *Sandbox) do(ctx context.Context, start func(*C.sbx_sandbox) *C.sbx_op) error {
	return s.take(ctx, start, takeNothing)
}

func (s *Sandbox) take(ctx context.Context, start func(*C.sbx_sandbox) *C.sbx_op, take taker) error {
	return call(ctx, s.core(), func(object unsafe.Pointer) *C.sbx_op { return start((*C.sbx_sandbox)(object)) }, take)
}

// bytes runs an operation that gives bytes, nil for none; the caller frees them.
func (s *Sandbox) bytes(ctx context.Context, start func(*C.sbx_sandbox) *C.sbx_op) (*C.sbx_bytes, error) {
	return callBytes(ctx, s.core(), func(object unsafe.Pointer) *C.sbx_op { return start((*C.sbx_sandbox)(object)) })
}

// ID is "sbx-" and 8 hex digits; the same after Close.
func (s *Sandbox) ID() string {
	if s == nil {
		return ""
	}
	return s.id
}

// String is the ID.
func (s *Sandbox) String() string { return s.ID() }

// FS is the sandbox's files.
func (s *Sandbox) FS() FS { return FS{s} }

// Process is the sandbox's programs.
func (s *Sandbox) Process() Process { return Process{s} }

// Env is the environment that later commands start with.
func (s *Sandbox) Env() Env { return Env{s} }

// Net is the sandbox's ports.
func (s *Sandbox) Net() Net { return Net{s} }

// Close kills everything inside. When it returns nothing of it runs any more. A second Close does nothing.
func (s *Sandbox) Close() error {
	return s.core().close(func(object unsafe.Pointer) error {
		return run(context.Background(), func() *C.sbx_op { return C.sbx_sandbox_close_start((*C.sbx_sandbox)(object)) }, takeNothing)
	})
}

// Closed says whether the sandbox was closed, by this handle or with its runtime.
func (s *Sandbox) Closed() bool {
	object, err := s.core().acquire()
	if err != nil {
		return true
	}
	defer s.handle.release()
	return C.sbx_sandbox_closed((*C.sbx_sandbox)(object)) != 0
}

// Detach gives up the handle without destroying the sandbox, which goes on under its ttl; Client.Open finds it again.
// Errors: unsupported (a sandbox of this process).
func (s *Sandbox) Detach(ctx context.Context) error {
	return s.do(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_sandbox_detach_start(box) })
}

// Ping times one round trip to the agent inside. It waits until the deadline of ctx, or 5 s without one.
func (s *Sandbox) Ping(ctx context.Context) (time.Duration, error) {
	var count C.uint64_t
	err := s.take(ctx, func(box *C.sbx_sandbox) *C.sbx_op {
		return C.sbx_sandbox_ping_start(box, untilDeadline(ctx))
	}, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code { return C.sbx_op_take_count(op, &count, failed) })
	return nanos(count), err
}

// Stats is what a sandbox uses now.
type Stats struct {
	CPUTime        time.Duration // all processes, since creation
	Memory         uint64        // bytes charged now, page cache and writable files included
	MemoryPeak     uint64
	MemoryLimit    uint64
	PIDs           uint32
	NetworkRxBytes uint64 // every interface but loopback
	NetworkTxBytes uint64
	DiskUsed       uint64
	InodesUsed     uint64
	OOMKills       uint64
	Uptime         time.Duration
}

// Stats tells what the sandbox uses now.
func (s *Sandbox) Stats(ctx context.Context) (Stats, error) {
	got := C.sbx_stats{struct_size: C.sizeof_sbx_stats}
	err := s.take(ctx, func(box *C.sbx_sandbox) *C.sbx_op {
		return C.sbx_sandbox_stats_start(box)
	}, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code { return C.sbx_op_take_stats(op, &got, failed) })
	if err != nil {
		return Stats{}, err
	}
	return Stats{
		CPUTime: nanos(got.cpu_time_ns), Memory: uint64(got.memory), MemoryPeak: uint64(got.memory_peak),
		MemoryLimit: uint64(got.memory_limit), PIDs: uint32(got.pids), NetworkRxBytes: uint64(got.network_rx_bytes),
		NetworkTxBytes: uint64(got.network_tx_bytes), DiskUsed: uint64(got.disk_used), InodesUsed: uint64(got.inodes_used),
		OOMKills: uint64(got.oom_kills), Uptime: nanos(got.uptime_ns),
	}, nil
}

// Pause stops every process where it stands; operations fail with failed_precondition until Resume.
func (s *Sandbox) Pause(ctx context.Context) error {
	return s.do(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_sandbox_pause_start(box) })
}

// Resume lets a paused sandbox go on.
func (s *Sandbox) Resume(ctx context.Context) error {
	return s.do(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_sandbox_resume_start(box) })
}

// SaveTemplate saves everything writable; the sandbox is frozen meanwhile and then goes on. Create others from it with
// Spec{Image: template.ID}, or Request{Template: template.ID} with a daemon.
func (s *Sandbox) SaveTemplate(ctx context.Context, label string) (*Template, error) {
	json, err := s.bytes(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_sandbox_save_template_start(box, view(label)) })
	if err != nil {
		return nil, err
	}
	template := new(Template)
	if err := takeJSON(json, template); err != nil {
		return nil, err
	}
	return template, nil
}

// Fingerprint is "sha256:…" of the agent of a sealed sandbox, which proved that it has the key: what to pin the next time.
// It waits for the session until the deadline of ctx, or 5 s without one. Errors: failed_precondition (not sealed),
// unauthenticated (not the pinned one).
func (s *Sandbox) Fingerprint(ctx context.Context) (string, error) {
	text, err := s.bytes(ctx, func(box *C.sbx_sandbox) *C.sbx_op {
		return C.sbx_sandbox_fingerprint_start(box, untilDeadline(ctx))
	})
	if err != nil {
		return "", err
	}
	return takeText(text), nil
}

// Spec is what the sandbox is made of.
func (s *Sandbox) Spec() (SpecInfo, error) {
	var spec SpecInfo
	err := directJSON(s.core(), &spec, func(object unsafe.Pointer, json **C.sbx_bytes, failed **C.sbx_error) C.sbx_code {
		return C.sbx_sandbox_spec((*C.sbx_sandbox)(object), json, failed)
	})
	return spec, err
}

// Unenforced lists limits and locks that the host does not enforce; none unless the spec allowed that.
func (s *Sandbox) Unenforced() ([]string, error) {
	var lines *C.sbx_bytes
	if err := direct(s.core(), func(object unsafe.Pointer, failed **C.sbx_error) C.sbx_code {
		return C.sbx_sandbox_unenforced((*C.sbx_sandbox)(object), &lines, failed)
	}); err != nil {
		return nil, err
	}
	return strings.FieldsFunc(takeText(lines), func(r rune) bool { return r == '\n' }), nil
}
