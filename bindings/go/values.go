package sandbox

import (
	"encoding/json"
	"time"
)

// Pool is the numbers of one warm pool.
type Pool struct {
	Profile    string // of a runtime: a readable key of the spec
	Image      string
	Memory     string
	CPUs       float64
	Target     uint32 // members the pool now wants ready
	Ready      uint32
	Warming    uint32 // being made
	Hits       uint64 // creates served from the pool
	Misses     uint64 // creates that had to make one
	Replaced   uint64 // members found unhealthy and replaced
	Failures   uint64 // refills that failed
	RefillTime time.Duration
}

// UnmarshalJSON reads the library's form.
func (p *Pool) UnmarshalJSON(text []byte) error {
	var form struct {
		Profile, Image, Memory           string
		CPU                              float64
		Target, Ready, Warming           uint32
		Hits, Misses, Replaced, Failures uint64
		RefillMS                         float64 `json:"refill_ms"`
	}
	if err := json.Unmarshal(text, &form); err != nil {
		return err
	}
	*p = Pool{form.Profile, form.Image, form.Memory, form.CPU, form.Target, form.Ready, form.Warming, form.Hits, form.Misses,
		form.Replaced, form.Failures, time.Duration(form.RefillMS * float64(time.Millisecond))}
	return nil
}

// Image is what lies under a sandbox: the host's userland, a template, or a directory or archive of the host.
type Image string

// UnmarshalJSON reads the library's form: a name, or an object with a path.
func (i *Image) UnmarshalJSON(text []byte) error {
	if len(text) == 0 || text[0] != '{' {
		return json.Unmarshal(text, (*string)(i))
	}
	var form struct{ Directory, Tar string }
	if err := json.Unmarshal(text, &form); err != nil {
		return err
	}
	*i = Image(form.Directory + form.Tar)
	return nil
}

// Limits is what a sandbox may use.
type Limits struct {
	Memory    uint64  `json:"memory"` // bytes
	CPUs      float64 `json:"cpus"`
	PIDs      uint32  `json:"pids"`
	OpenFiles uint32  `json:"open_files"`
	Disk      uint64  `json:"disk"` // bytes
	Inodes    uint64  `json:"inodes"`
}

// Template is everything writable of a sandbox, saved as a layer over the image it came from.
type Template struct {
	ID           string    `json:"id"`
	Label        string    `json:"label"`
	Digest       string    `json:"digest"` // "sha256:…" of the uncompressed layer
	Size         uint64    `json:"size"`   // bytes at rest, compressed
	Base         Image     `json:"base"`   // what lies underneath
	Limits       Limits    `json:"limits"` // of the sandbox it was saved from
	WritableRoot bool      `json:"writable_root"`
	Created      time.Time `json:"created_at"`
	// Of a daemon's only:
	Backend  string    `json:"backend"`
	Identity string    `json:"identity"`  // of the tenant it belongs to
	LastUsed time.Time `json:"last_used"` // zero: never
}

// PrunedLayer is an unpacked layer of the state directory that nothing used.
type PrunedLayer struct {
	Digest   string    `json:"digest"` // SHA-256 of the unpacked archive or template, 64 hex digits
	Size     uint64    `json:"size"`   // bytes on disk
	LastUsed time.Time `json:"last_used"`
}

// Host is what a host can do, measured.
type Host struct {
	Backend    string   `json:"backend"`
	Rootless   bool     `json:"rootless"`
	Enforced   []string `json:"enforced"`   // locks and limits in force
	Unenforced []string `json:"unenforced"` // what this host cannot enforce, and what that means
}

// SpecInfo is what a sandbox was made of, with every default filled in.
type SpecInfo struct {
	Image                 Image             `json:"image"`
	Limits                Limits            `json:"limits"`
	Network               string            `json:"network"` // "none", "bridge"
	Env                   map[string]string `json:"env"`
	Workdir               string            `json:"workdir"`
	Hostname              string            `json:"hostname"`
	WritableRoot          bool              `json:"writable_root"`
	Backend               string            `json:"backend"`
	User                  string            `json:"user"`
	Sealed                bool              `json:"sealed"`
	AllowUnenforcedLimits bool              `json:"allow_unenforced_limits"`
}

// SandboxInfo is one sandbox as its daemon lists it.
type SandboxInfo struct {
	ID         string
	Image      string
	State      string // "creating", "running", "paused", "disconnected", "stopping", "stopped"
	Created    time.Time
	TTL        time.Duration // how long it outlives its last session
	Profile    string
	Template   string
	Labels     map[string]string
	Spec       *SpecInfo // nil from daemons that do not tell
	Unenforced []string
}

// UnmarshalJSON reads the library's form.
func (s *SandboxInfo) UnmarshalJSON(text []byte) error {
	var form struct {
		ID, Image, State  string
		Created           time.Time
		TTL               int64 // seconds
		Profile, Template string
		Labels            map[string]string
		Spec              *SpecInfo
		Unenforced        []string
	}
	if err := json.Unmarshal(text, &form); err != nil {
		return err
	}
	*s = SandboxInfo{form.ID, form.Image, form.State, form.Created, time.Duration(form.TTL) * time.Second, form.Profile,
		form.Template, form.Labels, form.Spec, form.Unenforced}
	return nil
}

// Profile is a configured kind of sandbox.
type Profile struct {
	Name    string  `json:"name"`
	Image   string  `json:"image"`
	Memory  string  `json:"memory"` // as configured, "512m"
	CPUs    float64 `json:"cpu"`
	Storage string  `json:"storage"`
}

// Event is something that happened. Events of a runtime have no ID and Identity.
type Event struct {
	ID        uint64          `json:"id"`   // counts up from 1 in each run of a daemon
	Type      string          `json:"type"` // "sandbox.created", …
	SandboxID string          `json:"sandbox_id"`
	Identity  string          `json:"identity"`
	Time      time.Time       `json:"timestamp"`
	Data      json.RawMessage `json:"data"`
}

// History is past events, oldest first.
type History struct {
	Events   []Event `json:"events"`
	Complete bool    `json:"complete"` // false: some after the asked point were dropped already
	Last     uint64  `json:"seq"`      // id of the newest event there is
}

// Health is how a daemon is.
type Health struct {
	Status    string   `json:"status"` // "ok"
	Sandboxes uint64   `json:"sandboxes"`
	Pools     []Pool   `json:"pool"`
	NodeID    string   `json:"node_id"`
	Version   string   `json:"version"`
	Protocols []string `json:"protocols"` // "v1", "v2"
}
