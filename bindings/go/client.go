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

// Tenant is who a client says it is to a daemon with several tenants; requests are signed with Seed. The limits are part of
// what is signed; 0: none.
type Tenant struct {
	Name          string
	Seed          []byte // Ed25519 private seed, 32 bytes; see GenerateSigningKey
	MaxConcurrent uint32
	MaxTTL        time.Duration // in whole seconds
	MaxTemplates  uint32
}

// ClientOptions says how to reach a daemon. Its zero value has the defaults.
type ClientOptions struct {
	Token     string // bearer token
	Tenant    *Tenant
	CAFile    string        // PEM file of the authorities to trust for https; default: the system's
	Timeout   time.Duration // of a request; default 30 s
	Reconnect time.Duration // how long operations wait for a lost connection; default 30 s, negative: not at all
	Heartbeat time.Duration // default 5 s
	Compress  bool          // contents and output on their way: for slow networks
}

func (o *ClientOptions) lend(p *pins) *C.sbx_client_options {
	if o == nil {
		return nil
	}
	lent := &C.sbx_client_options{
		struct_size: C.sizeof_sbx_client_options, token: p.view(o.Token), ca_file: p.view(o.CAFile), timeout_ms: millis(o.Timeout),
		reconnect_ms: millis(o.Reconnect), heartbeat_ms: millis(o.Heartbeat), compress: flag(o.Compress),
	}
	if o.Reconnect < 0 {
		lent.reconnect_ms = -1
	}
	if tenant := o.Tenant; tenant != nil {
		lent.tenant, lent.tenant_seed = p.view(tenant.Name), p.viewBytes(tenant.Seed)
		lent.tenant_max_concurrent, lent.tenant_max_templates = C.uint32_t(tenant.MaxConcurrent), C.uint32_t(tenant.MaxTemplates)
		lent.tenant_max_ttl_s = C.uint32_t(seconds(tenant.MaxTTL))
	}
	return lent
}

// Client makes sandboxes with a daemon, on this machine or another: the remote counterpart of Runtime. Safe for concurrent
// use. Errors of every call besides its own: unavailable, deadline_exceeded, unauthenticated, permission_denied,
// resource_exhausted, protocol.
type Client struct{ handle *handle }

// Connect reaches the daemon at endpoint: "unix:///path", "http://host:port", "https://host:port", or empty for
// $SANDBOX_HOST, else the default socket. options may be nil.
func Connect(ctx context.Context, endpoint string, options *ClientOptions) (*Client, error) {
	var made *C.sbx_client
	err := run(ctx, func() *C.sbx_op {
		var p pins
		defer p.Unpin()
		return C.sbx_client_connect_start(view(endpoint), options.lend(&p))
	}, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code { return C.sbx_op_take_client(op, &made, failed) })
	if err != nil {
		return nil, err
	}
	return &Client{newHandle("client", unsafe.Pointer(made), nil, func(object unsafe.Pointer) {
		client := (*C.sbx_client)(object)
		C.sbx_client_free(&client)
	})}, nil
}

func (c *Client) core() *handle {
	if c == nil {
		return nil
	}
	return c.handle
}

// Close makes later calls of the client fail. Sandboxes it gave out keep their sessions until they are closed or left
// themselves. A second Close does nothing.
func (c *Client) Close() error {
	return c.core().close(func(object unsafe.Pointer) error {
		return run(context.Background(), func() *C.sbx_op { return C.sbx_client_close_start((*C.sbx_client)(object)) }, takeNothing)
	})
}

// Create makes a sandbox of the daemon's default profile, or as a Request or Spec says.
//
// Errors: not_found (profile, template, image), invalid_argument, resource_exhausted (capacity), permission_denied (the
// daemon's policy forbids the spec), failed_precondition (a limit its host cannot enforce).
func (c *Client) Create(ctx context.Context, options ...CreateOption) (*Sandbox, error) {
	wanted, err := newCreation(options)
	if err != nil {
		return nil, err
	}
	return takeSandbox(ctx, c.core(), func(object unsafe.Pointer) *C.sbx_op {
		var p pins
		defer p.Unpin()
		return C.sbx_client_create_start((*C.sbx_client)(object), wanted.lendRequest(&p), wanted.lendOptions(untilDeadline(ctx)))
	})
}

// OpenOptions says how to attach to a sandbox that exists. Its zero value has the defaults.
type OpenOptions struct {
	Sealed bool   // seals the session end to end
	Pin    string // "sha256:…" of the agent to accept, from Sandbox.Fingerprint; seals, too
}

// Open attaches to a sandbox that exists; only Close of it destroys it. options may be nil. Errors: not_found,
// unauthenticated (the agent has another key than the pinned one; told by the first operation).
func (c *Client) Open(ctx context.Context, id string, options *OpenOptions) (*Sandbox, error) {
	return takeSandbox(ctx, c.core(), func(object unsafe.Pointer) *C.sbx_op {
		var p pins
		defer p.Unpin()
		var lent *C.sbx_open_options
		if options != nil {
			lent = &C.sbx_open_options{struct_size: C.sizeof_sbx_open_options, sealed: flag(options.Sealed), pin: p.view(options.Pin)}
		}
		return C.sbx_client_open_start((*C.sbx_client)(object), view(id), lent)
	})
}

// Remove destroys a sandbox. Errors: not_found.
func (c *Client) Remove(ctx context.Context, id string) error {
	return call(ctx, c.core(), func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_client_remove_start((*C.sbx_client)(object), view(id))
	}, takeNothing)
}

// List tells about the sandboxes that have all the labels; nil: about all.
func (c *Client) List(ctx context.Context, labels map[string]string) ([]SandboxInfo, error) {
	var list []SandboxInfo
	err := callJSON(ctx, c.core(), &list, func(object unsafe.Pointer) *C.sbx_op {
		var p pins
		defer p.Unpin()
		pairs, count := p.pairs(labels)
		return C.sbx_client_list_start((*C.sbx_client)(object), pairs, count)
	})
	return list, err
}

// Find tells about one sandbox. Errors: not_found.
func (c *Client) Find(ctx context.Context, id string) (*SandboxInfo, error) {
	info := new(SandboxInfo)
	if err := callJSON(ctx, c.core(), info, func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_client_find_start((*C.sbx_client)(object), view(id))
	}); err != nil {
		return nil, err
	}
	return info, nil
}

// Templates lists the caller's templates.
func (c *Client) Templates(ctx context.Context) ([]Template, error) {
	var templates []Template
	err := callJSON(ctx, c.core(), &templates, func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_client_templates_start((*C.sbx_client)(object))
	})
	return templates, err
}

// FindTemplate tells about one template. Errors: not_found.
func (c *Client) FindTemplate(ctx context.Context, id string) (*Template, error) {
	template := new(Template)
	if err := callJSON(ctx, c.core(), template, func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_client_find_template_start((*C.sbx_client)(object), view(id))
	}); err != nil {
		return nil, err
	}
	return template, nil
}

// RemoveTemplate deletes one template. Errors: not_found.
func (c *Client) RemoveTemplate(ctx context.Context, id string) error {
	return call(ctx, c.core(), func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_client_remove_template_start((*C.sbx_client)(object), view(id))
	}, takeNothing)
}

// Profiles lists the kinds of sandboxes the daemon is configured for.
func (c *Client) Profiles(ctx context.Context) ([]Profile, error) {
	var profiles []Profile
	err := callJSON(ctx, c.core(), &profiles, func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_client_profiles_start((*C.sbx_client)(object))
	})
	return profiles, err
}

// Pools tells about the daemon's warm pools. Over the unix socket only, like SetWarm and Flush; elsewhere
// permission_denied.
func (c *Client) Pools(ctx context.Context) ([]Pool, error) {
	var pools []Pool
	err := callJSON(ctx, c.core(), &pools, func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_client_pools_start((*C.sbx_client)(object))
	})
	return pools, err
}

// SetWarm sets how many sandboxes of a profile are kept ready, and waits until they are.
func (c *Client) SetWarm(ctx context.Context, profile string, count uint32) error {
	return call(ctx, c.core(), func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_client_set_warm_start((*C.sbx_client)(object), view(profile), C.uint32_t(count))
	}, takeNothing)
}

// Flush makes the ready sandboxes of a profile anew.
func (c *Client) Flush(ctx context.Context, profile string) error {
	return call(ctx, c.core(), func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_client_flush_start((*C.sbx_client)(object), view(profile))
	}, takeNothing)
}

// WaitWarm blocks until every pool holds what it wants: until the deadline of ctx, or 30 s without one.
func (c *Client) WaitWarm(ctx context.Context) error {
	return call(ctx, c.core(), func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_client_wait_warm_start((*C.sbx_client)(object), untilDeadline(ctx))
	}, takeNothing)
}

// Events streams what happens in the daemon from now on.
func (c *Client) Events(ctx context.Context) (*EventStream, error) { return c.events(ctx, -1) }

// EventsAfter streams the events after event id, 0 for all that are kept, and then what happens.
func (c *Client) EventsAfter(ctx context.Context, id uint64) (*EventStream, error) {
	if id > 1<<63-1 {
		return nil, invalid("no event has such an id")
	}
	return c.events(ctx, C.int64_t(id))
}

func (c *Client) events(ctx context.Context, after C.int64_t) (*EventStream, error) {
	var stream *EventStream
	err := call(ctx, c.core(), func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_client_events_start((*C.sbx_client)(object), after)
	}, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code {
		var events *C.sbx_events
		code := C.sbx_op_take_events(op, &events, failed)
		if code == C.SBX_OK {
			stream = newEventStream(events, c.handle)
		}
		return code
	})
	return stream, err
}

// History is the past events after event id, at most limit (0: 1000), oldest first.
func (c *Client) History(ctx context.Context, id uint64, limit uint32) (*History, error) {
	if limit == 0 {
		limit = 1000
	}
	history := new(History)
	if err := callJSON(ctx, c.core(), history, func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_client_history_start((*C.sbx_client)(object), C.uint64_t(id), C.uint32_t(limit))
	}); err != nil {
		return nil, err
	}
	return history, nil
}

// Health asks the daemon how it is.
func (c *Client) Health(ctx context.Context) (*Health, error) {
	health := new(Health)
	if err := callJSON(ctx, c.core(), health, func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_client_health_start((*C.sbx_client)(object))
	}); err != nil {
		return nil, err
	}
	return health, nil
}

// Metrics is the daemon's Prometheus text.
func (c *Client) Metrics(ctx context.Context) (string, error) {
	text, err := callBytes(ctx, c.core(), func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_client_metrics_start((*C.sbx_client)(object))
	})
	if err != nil {
		return "", err
	}
	return takeText(text), nil
}

// SigningKey signs requests for a daemon with several tenants.
type SigningKey struct {
	Seed      []byte // secret, 32 bytes: for Tenant.Seed
	PublicKey string // base64, as the daemon's configuration wants it
}

// GenerateSigningKey makes a new Ed25519 key.
func GenerateSigningKey() (*SigningKey, error) {
	var (
		seed   [32]C.uchar
		public *C.sbx_bytes
		failed *C.sbx_error
	)
	if code := C.sbx_signing_key_generate(&seed[0], &public, &failed); code != C.SBX_OK {
		return nil, takeError(nil, code, failed)
	}
	key := &SigningKey{Seed: make([]byte, len(seed)), PublicKey: takeText(public)}
	for i, octet := range seed {
		key.Seed[i] = byte(octet)
	}
	return key, nil
}
