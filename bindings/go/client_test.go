package sandbox_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sandbox.dev/sandbox"
)

func TestClient(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client, err := sandbox.Connect(ctx, daemon.endpoint, &sandbox.ClientOptions{Timeout: 10 * time.Second, Compress: true})
	check(t, err)
	defer client.Close()
	health, err := client.Health(ctx)
	check(t, err)
	equal(t, "status", health.Status, "ok")
	if health.Version == "" || len(health.Protocols) == 0 {
		t.Errorf("health %+v", health)
	}
	events, err := client.Events(ctx)
	check(t, err)
	defer events.Close()
	box, err := client.Create(ctx, sandbox.Request{TTL: time.Minute, Labels: map[string]string{"test": t.Name()}})
	check(t, err)
	for event, err := range events.All(ctx) {
		check(t, err)
		if event.Type == "sandbox.created" && event.SandboxID == box.ID() {
			break
		}
	}
	list, err := client.List(ctx, map[string]string{"test": t.Name()})
	check(t, err)
	equal(t, "listed", len(list), 1)
	equal(t, "id", list[0].ID, box.ID())
	equal(t, "ttl", list[0].TTL, time.Minute)
	if list[0].Spec == nil || list[0].Created.IsZero() {
		t.Errorf("info %+v", list[0])
	}
	check(t, box.FS().Write(ctx, "/root/a", []byte("there")))
	check(t, box.Detach(ctx))
	check(t, box.Close()) // gives up the handle only
	again, err := client.Open(ctx, list[0].ID, nil)
	check(t, err)
	content, err := again.FS().Read(ctx, "/root/a")
	check(t, err)
	equal(t, "content", string(content), "there")
	check(t, client.Remove(ctx, list[0].ID))
	if _, err := client.Find(ctx, list[0].ID); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("after remove: %v", err)
	}
	_ = again.Close() // what it stood for is gone
	profiles, err := client.Profiles(ctx)
	check(t, err)
	if len(profiles) == 0 || profiles[0].Name == "" {
		t.Errorf("profiles %+v", profiles)
	}
	check(t, client.SetWarm(ctx, profiles[0].Name, 1))
	check(t, client.Flush(ctx, profiles[0].Name))
	check(t, client.WaitWarm(ctx))
	pools, err := client.Pools(ctx)
	check(t, err)
	if len(pools) == 0 || pools[0].Profile == "" {
		t.Errorf("pools %+v", pools)
	}
	history, err := client.History(ctx, 0, 0)
	check(t, err)
	if len(history.Events) == 0 || history.Last == 0 {
		t.Errorf("history %+v", history)
	}
	past, err := client.EventsAfter(ctx, 0)
	check(t, err)
	first, err := past.Next(ctx)
	check(t, err)
	equal(t, "first event", first.ID, history.Events[0].ID)
	check(t, past.Close())
	metrics, err := client.Metrics(ctx)
	check(t, err)
	if !strings.Contains(metrics, "# TYPE") {
		t.Errorf("metrics %.80q", metrics)
	}
}

func TestPinnedAgent(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	box := create(ctx, t, clientThere, sandbox.Request{Sealed: true, TTL: time.Minute})
	print, err := box.Fingerprint(ctx)
	check(t, err)
	same, err := clientThere.Open(ctx, box.ID(), &sandbox.OpenOptions{Pin: print})
	check(t, err)
	equal(t, "output", line(ctx, t, same, "echo pinned"), "pinned\n")
	other, err := clientThere.Open(ctx, box.ID(), &sandbox.OpenOptions{Pin: "sha256:" + strings.Repeat("0", 64)})
	check(t, err)
	if _, _, err := other.Env().Get(ctx, "PATH"); !errors.Is(err, sandbox.ErrUnauthenticated) {
		t.Errorf("another agent than the pinned one: %v", err)
	}
	if _, err := clientThere.Open(ctx, box.ID(), &sandbox.OpenOptions{Pin: "nonsense"}); !errors.Is(err, sandbox.ErrInvalidArgument) {
		t.Errorf("a pin that is none: %v", err)
	}
}

func TestNoDaemon(t *testing.T) {
	ctx := t.Context()
	if _, err := sandbox.Connect(ctx, "unix://"+filepath.Join(t.TempDir(), "none.sock"), nil); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("nobody there: %v", err)
	}
	for _, endpoint := range []string{"nonsense", "ftp://x", "unix://\x00", strings.Repeat("x", 1<<20)} {
		if _, err := sandbox.Connect(ctx, endpoint, nil); !errors.Is(err, sandbox.ErrInvalidArgument) {
			t.Errorf("endpoint %.20q: %v", endpoint, err)
		}
	}
	if _, err := sandbox.Connect(ctx, daemon.endpoint, &sandbox.ClientOptions{Tenant: &sandbox.Tenant{Name: "a", Seed: []byte("short")}}); !errors.Is(err, sandbox.ErrInvalidArgument) {
		t.Errorf("a seed that is none: %v", err)
	}
}

func TestSigningKey(t *testing.T) {
	key, err := sandbox.GenerateSigningKey()
	check(t, err)
	other, err := sandbox.GenerateSigningKey()
	check(t, err)
	if len(key.Seed) != 32 || string(key.Seed) == string(other.Seed) || key.PublicKey == "" || key.PublicKey == other.PublicKey {
		t.Errorf("keys %v %v", key.PublicKey, other.PublicKey)
	}
}
