package sandbox

/*
#include <sandbox/c.h>
*/
import "C"

import (
	"context"
	"time"
	"unsafe"
)

// Creator is what a Runtime and a Client have in common.
type Creator interface {
	Create(ctx context.Context, options ...CreateOption) (*Sandbox, error)
	WaitWarm(ctx context.Context) error
	Close() error
}

// Warm asks for Count ready sandboxes of Spec.
type Warm struct {
	Count uint32
	Spec  Spec
}

// RuntimeOptions says how to open a Runtime. Its zero value has the defaults.
type RuntimeOptions struct {
	Warm           []Warm // pools to keep ready
	MaxWarm        uint32 // most members one pool may hold ready; default 64
	MaxSandboxes   uint32 // most alive at once, pools included; default 1000
	StateDirectory string // of image layers and templates; default $SANDBOX_STATE_DIR, else /var/lib/sandbox for root
	// HelperDirectory holds sandbox-launcher and sandbox-agent; default $SANDBOX_BIN_DIR, else beside the library.
	HelperDirectory string
	Launchers       uint32 // processes that make sandboxes; default: one per two cores, at least 2
	// Persistent lets sandboxes outlive this process until the next runtime of the same state directory adopts them, or
	// OrphanTime (default 10 min) has passed.
	Persistent bool
	OrphanTime time.Duration
	// RequireProof is the path of a report of `sbx prove --report`: without one that passed, for this build, host and policy,
	// Open fails with failed_precondition and says what to run.
	RequireProof string
	// PruneAfter is how long nothing must have used an unpacked layer before it is removed in the background; default 7 days,
	// below 0: never. See Prune.
	PruneAfter time.Duration
}

func (o *RuntimeOptions) lend(p *pins) *C.sbx_runtime_options {
	if o == nil {
		return nil
	}
	lent := &C.sbx_runtime_options{
		struct_size: C.sizeof_sbx_runtime_options, max_warm: C.uint32_t(o.MaxWarm), max_sandboxes: C.uint32_t(o.MaxSandboxes),
		state_directory: p.view(o.StateDirectory), helper_directory: p.view(o.HelperDirectory),
		launchers: C.uint32_t(o.Launchers), persistent: flag(o.Persistent), orphan_time_ms: millis(o.OrphanTime),
		require_proof: p.view(o.RequireProof), prune_after_ms: millis(o.PruneAfter),
	}
	if o.PruneAfter < 0 {
		lent.prune_after_ms = -1
	}
	if len(o.Warm) > 0 {
		warm := make([]C.sbx_warm, len(o.Warm))
		for i := range o.Warm {
			warm[i] = C.sbx_warm{count: C.uint32_t(o.Warm[i].Count), spec: o.Warm[i].Spec.lend(p)}
		}
		p.Pin(&warm[0])
		lent.warm, lent.warm_size = &warm[0], C.size_t(len(warm))
	}
	return lent
}

// Runtime makes sandboxes in this process: it owns the launchers, the warm pools and the layer store. If the process dies,
// even by SIGKILL, its sandboxes die with it, unless the runtime is persistent. Safe for concurrent use.
type Runtime struct{ handle *handle }

// Open starts a runtime and begins to fill its pools. options may be nil.
//
// Errors: unsupported (no user namespaces), not_found (helper programs), unavailable, already_exists (another persistent
// runtime works in the state directory), failed_precondition (library and helpers of different builds; RequireProof).
func Open(ctx context.Context, options *RuntimeOptions) (*Runtime, error) {
	var made *C.sbx_runtime
	err := run(ctx, func() *C.sbx_op {
		var p pins
		defer p.Unpin()
		return C.sbx_runtime_open_start(options.lend(&p))
	}, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code { return C.sbx_op_take_runtime(op, &made, failed) })
	if err != nil {
		return nil, err
	}
	return &Runtime{newHandle("runtime", unsafe.Pointer(made), nil, func(object unsafe.Pointer) {
		runtime := (*C.sbx_runtime)(object)
		C.sbx_runtime_free(&runtime)
	})}, nil
}

func (r *Runtime) core() *handle {
	if r == nil {
		return nil
	}
	return r.handle
}

// Close destroys every sandbox and ends the launchers. A second Close does nothing.
func (r *Runtime) Close() error {
	return r.core().close(func(object unsafe.Pointer) error {
		return run(context.Background(), func() *C.sbx_op { return C.sbx_runtime_close_start((*C.sbx_runtime)(object)) }, takeNothing)
	})
}

// Leave ends a persistent runtime and leaves its sandboxes for the next one. Errors: failed_precondition (not persistent).
func (r *Runtime) Leave(ctx context.Context) error {
	return call(ctx, r.core(), func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_runtime_leave_start((*C.sbx_runtime)(object))
	}, takeNothing)
}

// Create makes a sandbox, or takes one from the warm pool in microseconds. Without options it is of the default spec.
//
// Errors: resource_exhausted (no capacity in time), failed_precondition (a lock or limit that this host cannot enforce;
// named), not_found (image), deadline_exceeded, unavailable.
func (r *Runtime) Create(ctx context.Context, options ...CreateOption) (*Sandbox, error) {
	c, err := newCreation(options)
	if err != nil {
		return nil, err
	}
	if c.request != nil {
		return nil, invalid("a Request is for a client; a runtime has no profiles")
	}
	return takeSandbox(ctx, r.core(), func(object unsafe.Pointer) *C.sbx_op {
		var p pins
		defer p.Unpin()
		return C.sbx_runtime_create_start((*C.sbx_runtime)(object), c.lendSpec(&p), c.lendOptions(untilDeadline(ctx)))
	})
}

// WaitWarm blocks until every pool holds its warm count: until the deadline of ctx, or 30 s without one.
func (r *Runtime) WaitWarm(ctx context.Context) error {
	return call(ctx, r.core(), func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_runtime_wait_warm_start((*C.sbx_runtime)(object), untilDeadline(ctx))
	}, takeNothing)
}

// SetWarm sets how many sandboxes of spec are kept ready; 0 empties the pool.
func (r *Runtime) SetWarm(ctx context.Context, spec Spec, count uint32) error {
	return call(ctx, r.core(), func(object unsafe.Pointer) *C.sbx_op {
		var p pins
		defer p.Unpin()
		return C.sbx_runtime_set_warm_start((*C.sbx_runtime)(object), spec.lend(&p), C.uint32_t(count))
	}, takeNothing)
}

// Live counts the sandboxes handed out and alive.
func (r *Runtime) Live() (int, error) {
	var count C.uint64_t
	err := direct(r.core(), func(object unsafe.Pointer, failed **C.sbx_error) C.sbx_code {
		return C.sbx_runtime_live((*C.sbx_runtime)(object), &count, failed)
	})
	return int(count), err
}

// Pools tells about the warm pools.
func (r *Runtime) Pools() ([]Pool, error) {
	var pools []Pool
	err := directJSON(r.core(), &pools, func(object unsafe.Pointer, json **C.sbx_bytes, failed **C.sbx_error) C.sbx_code {
		return C.sbx_runtime_pools((*C.sbx_runtime)(object), json, failed)
	})
	return pools, err
}

// Host says what this host can enforce, measured.
func (r *Runtime) Host() (Host, error) {
	var host Host
	err := directJSON(r.core(), &host, func(object unsafe.Pointer, json **C.sbx_bytes, failed **C.sbx_error) C.sbx_code {
		return C.sbx_runtime_host((*C.sbx_runtime)(object), json, failed)
	})
	return host, err
}

// Templates lists the templates of the state directory.
func (r *Runtime) Templates(ctx context.Context) ([]Template, error) {
	var templates []Template
	err := callJSON(ctx, r.core(), &templates, func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_runtime_templates_start((*C.sbx_runtime)(object))
	})
	return templates, err
}

// FindTemplate tells about one template. Errors: not_found.
func (r *Runtime) FindTemplate(ctx context.Context, id string) (*Template, error) {
	template := new(Template)
	if err := callJSON(ctx, r.core(), template, func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_runtime_find_template_start((*C.sbx_runtime)(object), view(id))
	}); err != nil {
		return nil, err
	}
	return template, nil
}

// RemoveTemplate deletes one template. Errors: not_found.
func (r *Runtime) RemoveTemplate(ctx context.Context, id string) error {
	return call(ctx, r.core(), func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_runtime_remove_template_start((*C.sbx_runtime)(object), view(id))
	}, takeNothing)
}

// PruneOptions says which layers Prune removes. Its zero value has the defaults.
type PruneOptions struct {
	UnusedFor time.Duration // since the last use ended, rounded up to seconds; default 7 days, below 0: however short
	DryRun    bool          // only tell
}

// Prune removes unpacked layers of the state directory that nothing uses, in this process or another, and tells which.
// options may be nil. What a template stands on stays; a layer of an archive is unpacked again when it is asked for. When ctx
// ends first, the removing runs out behind.
func (r *Runtime) Prune(ctx context.Context, options *PruneOptions) ([]PrunedLayer, error) {
	lent := C.sbx_prune_options{struct_size: C.sizeof_sbx_prune_options}
	if options != nil {
		lent.unused_for_ms, lent.dry_run = millis(options.UnusedFor), flag(options.DryRun)
		if options.UnusedFor < 0 {
			lent.unused_for_ms = -1
		}
	}
	var layers []PrunedLayer
	err := callJSON(ctx, r.core(), &layers, func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_runtime_prune_start((*C.sbx_runtime)(object), &lent)
	})
	return layers, err
}

// Adopted takes over the sandboxes that an earlier persistent runtime of the state directory left; each once.
func (r *Runtime) Adopted() ([]*Sandbox, error) {
	var adopted []*Sandbox
	for {
		var next *C.sbx_sandbox
		if err := direct(r.core(), func(object unsafe.Pointer, failed **C.sbx_error) C.sbx_code {
			code := C.sbx_runtime_next_adopted((*C.sbx_runtime)(object), &next, failed)
			if next != nil {
				adopted = append(adopted, newSandbox(next, r.handle))
			}
			return code
		}); err != nil || next == nil {
			return adopted, err
		}
	}
}

// Events streams what happens to this runtime's sandboxes from now on.
func (r *Runtime) Events() (*EventStream, error) {
	var stream *EventStream
	err := direct(r.core(), func(object unsafe.Pointer, failed **C.sbx_error) C.sbx_code {
		var events *C.sbx_events
		code := C.sbx_runtime_events((*C.sbx_runtime)(object), &events, failed)
		if code == C.SBX_OK {
			stream = newEventStream(events, r.handle)
		}
		return code
	})
	return stream, err
}

// directJSON is direct for calls that answer with JSON.
func directJSON(h *handle, target any, use func(unsafe.Pointer, **C.sbx_bytes, **C.sbx_error) C.sbx_code) error {
	var json *C.sbx_bytes
	err := direct(h, func(object unsafe.Pointer, failed **C.sbx_error) C.sbx_code { return use(object, &json, failed) })
	if err != nil {
		return err
	}
	return takeJSON(json, target)
}

// callBytes is call for operations that answer with bytes; nil: with none. The caller frees them.
func callBytes(ctx context.Context, h *handle, start starter) (*C.sbx_bytes, error) {
	var bytes *C.sbx_bytes
	err := call(ctx, h, start, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code {
		return C.sbx_op_take_bytes(op, &bytes, failed)
	})
	return bytes, err
}

// callJSON is call for operations that answer with JSON.
func callJSON(ctx context.Context, h *handle, target any, start starter) error {
	json, err := callBytes(ctx, h, start)
	if err != nil {
		return err
	}
	return takeJSON(json, target)
}
