package sandbox_test

import (
	"archive/tar"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sandbox.dev/sandbox"
)

func TestVersion(t *testing.T) {
	if strings.Count(sandbox.Version(), ".") != 2 {
		t.Fatalf("version %q", sandbox.Version())
	}
}

func TestEnv(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		_, set, err := box.Env().Get(ctx, "GREETING")
		check(t, err)
		equal(t, "set", set, false)
		check(t, box.Env().Set(ctx, "GREETING", "hello wörld"))
		value, set, err := box.Env().Get(ctx, "GREETING")
		check(t, err)
		equal(t, "value", value, "hello wörld")
		equal(t, "set", set, true)
		equal(t, "seen inside", line(ctx, t, box, `printf %s "$GREETING"`), "hello wörld")
		check(t, box.Env().Set(ctx, "EMPTY", ""))
		value, set, err = box.Env().Get(ctx, "EMPTY")
		check(t, err)
		equal(t, "empty value", value, "")
		equal(t, "empty is set", set, true)
		all, err := box.Env().All(ctx)
		check(t, err)
		equal(t, "in all", all["GREETING"], "hello wörld")
		check(t, box.Env().Unset(ctx, "GREETING"))
		_, set, err = box.Env().Get(ctx, "GREETING")
		check(t, err)
		equal(t, "set after unset", set, false)
	})
}

func TestCreateOptions(t *testing.T) {
	everywhere(t, func(ctx context.Context, t *testing.T, maker sandbox.Creator) {
		box := create(ctx, t, maker, sandbox.Spec{
			Memory: 64 << 20, PIDs: 40, Env: map[string]string{"A": "1", "B": "2"}, Workdir: "/tmp", Hostname: "inside",
		}, sandbox.Cold())
		equal(t, "told", line(ctx, t, box, "echo $A$B $PWD $(hostname)"), "12 /tmp inside\n")
		if !strings.HasPrefix(box.ID(), "sbx-") {
			t.Errorf("id %q", box.ID())
		}
		spec, err := box.Spec()
		check(t, err)
		equal(t, "memory", spec.Limits.Memory, 64<<20)
		equal(t, "pids", spec.Limits.PIDs, 40)
		equal(t, "image", spec.Image, "host")
		equal(t, "env", spec.Env["B"], "2")
		stats, err := box.Stats(ctx)
		check(t, err)
		equal(t, "memory limit", stats.MemoryLimit, 64<<20)
		if stats.PIDs == 0 || stats.Uptime <= 0 || stats.Memory == 0 {
			t.Errorf("stats %+v", stats)
		}
		trip, err := box.Ping(ctx)
		check(t, err)
		if trip <= 0 {
			t.Errorf("ping %v", trip)
		}
	})
}

func TestPause(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		check(t, box.Pause(ctx))
		_, err := box.Process().Exec(ctx, sandbox.Shell("true"))
		if !errors.Is(err, sandbox.ErrFailedPrecondition) {
			t.Fatalf("exec in a paused sandbox: %v", err)
		}
		check(t, box.Resume(ctx))
		line(ctx, t, box, "true")
	})
}

func TestErrors(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		_, err := box.FS().Read(ctx, "/nowhere")
		if !errors.Is(err, sandbox.ErrNotFound) || !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, os.ErrNotExist) {
			t.Errorf("not there: %v", err)
		}
		if errors.Is(err, sandbox.ErrInternal) || errors.Is(err, fs.ErrExist) {
			t.Errorf("is too much: %v", err)
		}
		var failed *sandbox.Error
		if !errors.As(err, &failed) || failed.Code != sandbox.CodeNotFound || failed.Message == "" ||
			failed.Retry != sandbox.RetryNever || !strings.Contains(err.Error(), "not_found") {
			t.Errorf("details: %#v", failed)
		}
		if err := box.FS().Write(ctx, "/root/a", nil); err != nil {
			t.Error(err)
		}
		if err := box.FS().Write(ctx, "/root/a", nil, sandbox.Exclusive()); !errors.Is(err, fs.ErrExist) {
			t.Errorf("exclusive: %v", err)
		}
		if _, err := box.Process().Exec(ctx, sandbox.Program("/no/such/program")); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("no such program: %v", err)
		}
	})
	equal(t, "name of a code", sandbox.CodeResourceExhausted.String(), "resource_exhausted")
	equal(t, "name of no code", sandbox.Code(999).String(), "unknown")
}

func TestTemplates(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		check(t, box.FS().Write(ctx, "/root/kept", []byte("kept")))
		saved, err := box.SaveTemplate(ctx, "with a file")
		check(t, err)
		var maker sandbox.Creator = runtimeHere
		list, find, remove := runtimeHere.Templates, runtimeHere.FindTemplate, runtimeHere.RemoveTemplate
		option := sandbox.CreateOption(sandbox.Spec{Image: saved.ID})
		if strings.HasSuffix(t.Name(), "daemon") {
			maker, list, find, remove = clientThere, clientThere.Templates, clientThere.FindTemplate, clientThere.RemoveTemplate
			option = sandbox.Request{Template: saved.ID}
		}
		other := create(ctx, t, maker, option)
		content, err := other.FS().Read(ctx, "/root/kept")
		check(t, err)
		equal(t, "content", string(content), "kept")
		found, err := find(ctx, saved.ID)
		check(t, err)
		equal(t, "label", found.Label, "with a file")
		equal(t, "digest", found.Digest, saved.Digest)
		if found.Size == 0 || found.Created.IsZero() || found.Limits.Memory == 0 || found.Base != "host" {
			t.Errorf("template %+v", found)
		}
		all, err := list(ctx)
		check(t, err)
		equal(t, "templates", len(all), 1)
		check(t, other.Close())
		check(t, remove(ctx, saved.ID))
		if _, err := find(ctx, saved.ID); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("after remove: %v", err)
		}
	})
}

func TestPrune(t *testing.T) {
	ctx, state := t.Context(), t.TempDir()
	file, err := os.Create(filepath.Join(state, "usr.tar"))
	check(t, err)
	archive := tar.NewWriter(file)
	check(t, archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "usr/", Mode: 0o755}))
	check(t, archive.Close())
	check(t, file.Close())
	options := &sandbox.RuntimeOptions{StateDirectory: state, Launchers: 1, PruneAfter: -1}
	all := &sandbox.PruneOptions{UnusedFor: -1}
	runtime, err := sandbox.Open(ctx, options)
	check(t, err)
	box, err := runtime.Create(ctx, sandbox.Spec{Image: file.Name()})
	check(t, err)
	layers, err := runtime.Prune(ctx, all)
	check(t, err)
	equal(t, "layers in use that went", len(layers), 0)
	check(t, box.Close())
	check(t, runtime.Close())
	runtime, err = sandbox.Open(ctx, options)
	check(t, err)
	defer runtime.Close()
	layers, err = runtime.Prune(ctx, nil)
	check(t, err)
	equal(t, "young layers that went", len(layers), 0)
	told, err := runtime.Prune(ctx, &sandbox.PruneOptions{UnusedFor: -1, DryRun: true})
	check(t, err)
	if len(told) != 1 || len(told[0].Digest) != 64 || told[0].Size == 0 || told[0].LastUsed.IsZero() {
		t.Fatalf("told %+v", told)
	}
	layers, err = runtime.Prune(ctx, all)
	check(t, err)
	if len(layers) != 1 || layers[0].Digest != told[0].Digest {
		t.Errorf("removed %+v", layers)
	}
	layers, err = runtime.Prune(ctx, all)
	check(t, err)
	equal(t, "layers left", len(layers), 0)
}

func TestSealed(t *testing.T) {
	everywhere(t, func(ctx context.Context, t *testing.T, maker sandbox.Creator) {
		box := create(ctx, t, maker, sandbox.Spec{Sealed: true})
		equal(t, "output", line(ctx, t, box, "echo sealed"), "sealed\n")
		print, err := box.Fingerprint(ctx)
		check(t, err)
		if !strings.HasPrefix(print, "sha256:") {
			t.Fatalf("fingerprint %q", print)
		}
		open := create(ctx, t, maker)
		if _, err := open.Fingerprint(ctx); !errors.Is(err, sandbox.ErrFailedPrecondition) {
			t.Errorf("fingerprint of an open one: %v", err)
		}
	})
}

func TestRuntime(t *testing.T) {
	ctx := t.Context()
	spec := sandbox.Spec{PIDs: 33}
	runtime, err := sandbox.Open(ctx, &sandbox.RuntimeOptions{
		StateDirectory: t.TempDir(), Warm: []sandbox.Warm{{Count: 2, Spec: spec}}, Launchers: 1,
	})
	check(t, err)
	defer runtime.Close()
	check(t, runtime.WaitWarm(ctx))
	pools, err := runtime.Pools()
	check(t, err)
	equal(t, "pools", len(pools), 1)
	equal(t, "ready", pools[0].Ready, 2)
	events, err := runtime.Events()
	check(t, err)
	defer events.Close()
	box, err := runtime.Create(ctx, spec)
	check(t, err)
	for event, err := range events.All(ctx) {
		check(t, err)
		if event.Type == "sandbox.created" && event.SandboxID == box.ID() {
			if event.Time.IsZero() {
				t.Error("the event has no time")
			}
			break
		}
	}
	equal(t, "gap", events.Gap(), false)
	live, err := runtime.Live()
	check(t, err)
	equal(t, "live", live, 1)
	check(t, runtime.SetWarm(ctx, spec, 0))
	host, err := runtime.Host()
	check(t, err)
	if host.Backend == "" || len(host.Enforced) == 0 {
		t.Errorf("host %+v", host)
	}
	if _, err := runtime.Create(ctx, sandbox.Request{Profile: "default"}); !errors.Is(err, sandbox.ErrInvalidArgument) {
		t.Errorf("a request at a runtime: %v", err)
	}
	check(t, runtime.Close())
	equal(t, "closed with its runtime", box.Closed(), true)
	if _, _, err := box.Env().Get(ctx, "PATH"); !errors.Is(err, sandbox.ErrFailedPrecondition) {
		t.Errorf("in a closed runtime: %v", err)
	}
	check(t, box.Close())
}

func TestRequiredProof(t *testing.T) {
	_, err := sandbox.Open(t.Context(), &sandbox.RuntimeOptions{StateDirectory: t.TempDir(), RequireProof: "/no/such/proof.json"})
	if !errors.Is(err, sandbox.ErrFailedPrecondition) || !strings.Contains(err.Error(), "sbx prove --report") {
		t.Errorf("without a report: %v", err)
	}
}

func TestPersistentRuntime(t *testing.T) {
	ctx := t.Context()
	options := &sandbox.RuntimeOptions{StateDirectory: t.TempDir(), Persistent: true, Launchers: 1}
	first, err := sandbox.Open(ctx, options)
	check(t, err)
	box, err := first.Create(ctx)
	check(t, err)
	check(t, box.FS().Write(ctx, "/root/a", []byte("still here")))
	check(t, first.Leave(ctx))
	check(t, first.Close())
	second, err := sandbox.Open(ctx, options)
	check(t, err)
	defer second.Close()
	adopted, err := second.Adopted()
	check(t, err)
	equal(t, "adopted", len(adopted), 1)
	defer adopted[0].Close()
	equal(t, "id", adopted[0].ID(), box.ID())
	content, err := adopted[0].FS().Read(ctx, "/root/a")
	check(t, err)
	equal(t, "content", string(content), "still here")
}
