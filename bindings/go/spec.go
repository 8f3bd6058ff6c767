package sandbox

/*
#include <sandbox/c.h>
*/
import "C"

import "time"

// Network is what a sandbox sees besides itself.
type Network int

// The networks.
const (
	NetworkNone   Network = 0 // loopback only
	NetworkBridge Network = 1
)

// Spec is what a sandbox is made of. Its zero value is the locked-down default: this host's userland, no network, a
// read-only root, and the limits below. Two equal specs share one warm pool. A Spec is a CreateOption.
type Spec struct {
	Image        string  // "host" (default), "tpl-…", or a path to a directory or tar archive
	Memory       uint64  // bytes, of processes and writable files together; default 512 MiB
	CPUs         float64 // default 1
	PIDs         uint32  // default 256
	OpenFiles    uint32  // per process; default 1024
	Disk         uint64  // bytes in all writable directories; default 256 MiB
	Inodes       uint64  // default 65536
	Network      Network
	Env          map[string]string
	Workdir      string // default /root
	Hostname     string // default sandbox
	WritableRoot bool
	Backend      string // default native
	User         string // pools are never shared between users
	// Sealed encrypts everything between this process and the agent inside, end to end: X25519, AES-256-GCM.
	Sealed bool
	// AllowUnenforcedLimits weakens: sandboxes are made even where this host cannot enforce a limit.
	AllowUnenforcedLimits bool
}

func (s *Spec) lend(p *pins) *C.sbx_spec {
	lent := &C.sbx_spec{
		struct_size: C.sizeof_sbx_spec, image: p.view(s.Image), memory: C.uint64_t(s.Memory), cpus: C.double(s.CPUs),
		pids: C.uint32_t(s.PIDs), open_files: C.uint32_t(s.OpenFiles), disk: C.uint64_t(s.Disk), inodes: C.uint64_t(s.Inodes),
		network: C.sbx_network(s.Network), workdir: p.view(s.Workdir), hostname: p.view(s.Hostname),
		writable_root: flag(s.WritableRoot), backend: p.view(s.Backend), user: p.view(s.User), sealed: flag(s.Sealed),
		allow_unenforced_limits: flag(s.AllowUnenforcedLimits),
	}
	lent.env, lent.env_size = p.pairs(s.Env)
	p.Pin(lent)
	return lent
}

// Request asks a daemon for a sandbox of one of its profiles or templates, with a few changes; its zero value for the
// default profile. It is a CreateOption of clients only, and may come with a Spec in place of profile and template.
type Request struct {
	Profile  string
	Template string
	Memory   uint64 // bytes; 0: as the profile says, also below
	CPUs     float64
	Storage  uint64
	// TTL is how long the sandbox outlives its last session, in whole seconds. Default: not at all.
	TTL    time.Duration
	Labels map[string]string
	Sealed bool
}

// CreateOption is a Spec, a Request, Cold or CreateTimeout.
type CreateOption interface{ applyTo(*creation) }

type creation struct {
	spec    *Spec
	request *Request
	cold    bool
	timeout time.Duration
}

type createFunc func(*creation)

func (f createFunc) applyTo(c *creation) { f(c) }

func (s Spec) applyTo(c *creation)    { c.spec = &s }
func (r Request) applyTo(c *creation) { c.request = &r }

// Cold has a sandbox made afresh even when the pool has one ready.
func Cold() CreateOption { return createFunc(func(c *creation) { c.cold = true }) }

// CreateTimeout is for capacity and creation together. Default: the deadline of the context, or 30 s.
func CreateTimeout(limit time.Duration) CreateOption {
	return createFunc(func(c *creation) { c.timeout = limit })
}

func newCreation(options []CreateOption) (*creation, error) {
	c := new(creation)
	for _, option := range options {
		if option == nil {
			return nil, invalid("a create option is nil")
		}
		option.applyTo(c)
	}
	if c.timeout < 0 {
		return nil, invalid("the create timeout is negative")
	}
	return c, nil
}

func (c *creation) lendOptions(fallback C.int64_t) *C.sbx_create_options {
	lent := &C.sbx_create_options{struct_size: C.sizeof_sbx_create_options, deadline_ms: millis(c.timeout), cold: flag(c.cold)}
	if c.timeout == 0 {
		lent.deadline_ms = fallback
	}
	return lent
}

func (c *creation) lendSpec(p *pins) *C.sbx_spec {
	if c.spec == nil {
		return nil
	}
	return c.spec.lend(p)
}

func (c *creation) lendRequest(p *pins) *C.sbx_create_request {
	lent := &C.sbx_create_request{struct_size: C.sizeof_sbx_create_request, spec: c.lendSpec(p)}
	if r := c.request; r != nil {
		lent.profile, lent.template_id = p.view(r.Profile), p.view(r.Template)
		lent.memory, lent.cpus, lent.storage = C.uint64_t(r.Memory), C.double(r.CPUs), C.uint64_t(r.Storage)
		lent.ttl_s, lent.sealed = seconds(r.TTL), flag(r.Sealed)
		lent.labels, lent.labels_size = p.pairs(r.Labels)
	}
	p.Pin(lent)
	return lent
}

// seconds rounds up.
func seconds(time_ time.Duration) C.int64_t {
	if time_ > 0 {
		return C.int64_t((time_-1)/time.Second + 1)
	}
	return C.int64_t(time_ / time.Second)
}
