// A second old client, from the specification alone and in the language of the original, with the wire habits of its Go SDK.
// Usage: v1client SOCKET TENANT_SOCKET — of a single-user daemon, and of a multi-tenant one that knows the public key of the
// seed 00…1f. Ends with 1 when a check fails.
package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"
)

// T is one check that is running. Its methods end the check by panicking with a failure.
type T struct {
	daemon, tenants *Daemon
	cleanups        []func()
}

type failure string

func (t *T) must(err error) {
	if err != nil {
		panic(failure(err.Error()))
	}
}

func (t *T) equal(got, expected any, about ...any) {
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(expected)
	if !bytes.Equal(a, b) {
		panic(failure(fmt.Sprintf("%v: got %.300s, expected %.300s", about, a, b)))
	}
}

func (t *T) fails(err error, text string) {
	var remote *rpcError
	if !errors.As(err, &remote) || !strings.Contains(remote.Message, text) {
		panic(failure(fmt.Sprintf("got %v, expected an error with %q", err, text)))
	}
}

func (t *T) create(daemon *Daemon, body string) string {
	status, _, text, err := daemon.ask("POST", "/sandboxes", body)
	t.must(err)
	t.equal(status, 201, text)
	var info struct{ ID, State string }
	t.must(json.Unmarshal([]byte(text), &info))
	t.equal(info.State, "running")
	t.equal(regexp.MustCompile(`^sbx-[0-9a-f]{8}$`).MatchString(info.ID), true, info.ID)
	t.cleanups = append(t.cleanups, func() { daemon.ask("DELETE", "/sandboxes/"+info.ID, "") })
	return info.ID
}

func (t *T) connect(daemon *Daemon, id string) *Session {
	session, err := daemon.connect(id)
	t.must(err)
	t.cleanups = append(t.cleanups, func() { session.conn.Close() })
	return session
}

func (t *T) session() *Session { return t.connect(t.daemon, t.create(t.daemon, `{"ttl":60}`)) }

type execResult struct {
	Stdout    string `json:"stdout"`
	Stderr    string `json:"stderr"`
	ExitCode  int    `json:"exit_code"`
	ExitCamel *int   `json:"exitCode"`
}

func (t *T) exec(s *Session, command string) execResult {
	var result execResult
	t.must(s.call("process.exec", map[string]any{"command": command}, &result))
	return result
}

func random(size int) []byte {
	content := make([]byte, size)
	rand.Read(content)
	return content
}

// ---- checks ---------------------------------------------------------------------------------------------------------------

func checkExec(t *T) {
	s := t.session()
	result := t.exec(s, "echo hello; echo e >&2; exit 7")
	t.equal(result.Stdout+result.Stderr, "hello\ne\n")
	t.equal([]int{result.ExitCode, *result.ExitCamel}, []int{7, 7})
	t.fails(s.call("process.exec", map[string]any{"command": "sleep 9", "timeout": 1}, nil), "command timed out after 1s")
	t.fails(s.call("no.such", nil, nil), "method not found: no.such")
}

func files(t *T, s *Session) {
	for _, size := range []int{0, 5, chunk, 2*chunk + 9} {
		content := random(size)
		t.must(s.write("fs.write", "/root/d/f", content))
		got, err := s.read("fs.read", "/root/d/f")
		t.must(err)
		t.equal(bytes.Equal(got, content), true, "content of", size)
	}
	// The SDK's own key names.
	t.must(s.call("fs.rename", map[string]any{"oldPath": "/root/d/f", "newPath": "/root/d/g"}, nil))
	var stat struct {
		Name    string
		Size    int64
		IsDir   bool    `json:"isDir"`
		ModTime float64 `json:"modTime"`
	}
	t.must(s.call("fs.stat", map[string]any{"path": "/root/d/g"}, &stat))
	t.equal([]any{stat.Name, stat.Size, stat.IsDir}, []any{"g", 2*chunk + 9, false})
	t.equal(time.Since(time.Unix(int64(stat.ModTime), 0)) < time.Hour, true, "modTime")
	t.fails(s.write("fs.write", "/etc/passwd", []byte("x")), "access denied")
	_, err := s.read("fs.read", "/root/../../../etc/passwd")
	t.fails(err, "access denied")
	t.equal(t.exec(s, "echo in step").Stdout, "in step\n")
}

func checkFiles(t *T) { files(t, t.session()) }

func checkArchives(t *T) {
	s := t.session()
	t.exec(s, "mkdir -p /root/a/b && head -c 3000000 /dev/urandom > /root/a/b/f && sha256sum < /root/a/b/f > /root/sum")
	tar, err := s.read("fs.download", "/root/a")
	t.must(err)
	t.must(s.write("fs.upload", "/root/copy", tar))
	t.equal(t.exec(s, "sha256sum < /root/copy/b/f | cmp - /root/sum && echo same").Stdout, "same\n")
}

func checkEncryption(t *T) {
	id := t.create(t.daemon, `{"ttl":60}`)
	s := t.connect(t.daemon, id)
	t.must(s.negotiate())
	t.equal(t.exec(s, "echo sealed").Stdout, "sealed\n")
	files(t, s)
	t.must(s.call("env.list", nil, nil)) // an envelope around the text null
	var saved struct{ ID string }
	t.must(s.call("template.save", map[string]any{"label": "go"}, &saved))
	t.daemon.ask("DELETE", "/templates/"+saved.ID, "")
	t.equal(strings.HasPrefix(saved.ID, "tpl-"), true, saved.ID)
	old := s.aead
	t.must(s.negotiate())
	s.aead, old = old, s.aead
	t.fails(s.call("env.list", nil, nil), "e2e decrypt: ")
	s.aead = old
	t.must(s.call("env.list", nil, nil))
	t.equal(t.exec(t.connect(t.daemon, id), "echo plain").Stdout, "plain\n") // the key was the connection's
}

func checkStream(t *T) {
	s := t.session()
	var result struct {
		ExitCode int `json:"exit_code"`
	}
	t.must(s.call("process.stream", map[string]any{"command": "seq 20000; exit 4"}, &result))
	t.equal(result.ExitCode, 4)
	var all strings.Builder
	for _, one := range s.notifications {
		var output struct{ Data, Stream string }
		t.must(json.Unmarshal(one.Params, &output))
		t.equal([]string{one.Method, output.Stream}, []string{"process.output", "stdout"})
		all.WriteString(output.Data)
	}
	t.equal(strings.Count(all.String(), "\n"), 20000)
	t.equal(strings.HasSuffix(all.String(), "\n20000\n"), true)
}

func checkSpawnAndKill(t *T) {
	s := t.session()
	var spawned struct{ Pid int }
	t.must(s.call("process.spawn", map[string]any{"command": "echo up; sleep 60"}, &spawned))
	t.must(s.until("process.stdout", func(p json.RawMessage) bool { return bytes.Contains(p, []byte("dXAK")) }))
	// Kill of the SDK is an exec with a pid and a signal.
	t.must(s.call("process.exec", map[string]any{"pid": spawned.Pid, "signal": "SIGKILL"}, nil))
	t.must(s.until("process.exit", func(p json.RawMessage) bool {
		var exit struct {
			Pid      int
			ExitCode int `json:"exit_code"`
		}
		return json.Unmarshal(p, &exit) == nil && exit.Pid == spawned.Pid && exit.ExitCode == -1
	}))
}

func checkTerminal(t *T) {
	s := t.session()
	var made struct{ Pid int }
	t.must(s.call("process.pty", map[string]any{"command": "/bin/sh", "cols": 90, "rows": 20}, &made))
	write := func(text string) {
		t.must(s.notify("process.pty", map[string]any{"pid": made.Pid, "data": base64.StdEncoding.EncodeToString([]byte(text))}))
	}
	sees := func(text string) {
		for !bytes.Contains(bytes.Join(s.binaries, nil), []byte(text)) {
			_, err := s.pump()
			t.must(err)
		}
	}
	write("stty size\n")
	sees("20 90")
	t.must(s.notify("process.resize", map[string]any{"pid": made.Pid, "cols": 33, "rows": 11}))
	write("stty size; exit 2\n")
	sees("11 33")
	t.must(s.until("process.exit", func(p json.RawMessage) bool { return bytes.Contains(p, []byte(`"exit_code":2`)) }))
}

func checkTakeover(t *T) {
	id := t.create(t.daemon, `{}`) // ttl 0: the old session's end must not be the sandbox's
	old, current := t.connect(t.daemon, id), t.connect(t.daemon, id)
	t.must(old.until("session.replaced", func(p json.RawMessage) bool { return bytes.Contains(p, []byte(id)) }))
	_, err := old.pump()
	var closed *ClosedError
	t.equal(errors.As(err, &closed) && closed.Code == 1000 && closed.Reason == "session closed", true, err)
	time.Sleep(300 * time.Millisecond)
	t.equal(t.exec(current, "echo mine").Stdout, "mine\n")
}

func checkResume(t *T) {
	id := t.create(t.daemon, `{"ttl":60}`)
	s := t.connect(t.daemon, id)
	var spawned struct{ Pid int }
	t.must(s.call("process.spawn", map[string]any{"command": "sleep 0.7; echo kept"}, &spawned))
	s.conn.Close()
	time.Sleep(1500 * time.Millisecond)
	again := t.connect(t.daemon, id)
	t.must(again.until("session.resumed", func(p json.RawMessage) bool { return bytes.Contains(p, []byte(id)) }))
	t.must(again.until("process.stdout", func(p json.RawMessage) bool { return bytes.Contains(p, []byte("a2VwdAo=")) }))
	t.must(again.until("process.exit", func(p json.RawMessage) bool { return true }))
}

func checkTunnel(t *T) {
	id := t.create(t.daemon, `{"ttl":60}`)
	s := t.connect(t.daemon, id)
	t.exec(s, `mkdir -p /tmp/w && cd /tmp/w && echo content > f && python3 -m http.server 8000 > /dev/null 2>&1 &`)
	status, _, text, err := t.daemon.ask("POST", "/sandboxes/"+id+"/ports/8000/expose", `{"timeout":20}`)
	t.must(err)
	t.equal(status, 200, text)
	var tunnel struct {
		Port     int
		HostPort int `json:"host_port"`
		URL      string
	}
	t.must(json.Unmarshal([]byte(text), &tunnel))
	t.equal(tunnel.URL, fmt.Sprintf("http://localhost:%d", tunnel.HostPort))
	response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/f", tunnel.HostPort))
	t.must(err)
	body, _ := io.ReadAll(response.Body)
	response.Body.Close()
	t.equal(string(body), "content\n")
	_, _, text, err = t.daemon.ask("GET", "/sandboxes/"+id+"/ports/8000/f", "")
	t.must(err)
	t.equal(text, "content\n")
	status, _, _, _ = t.daemon.ask("DELETE", "/sandboxes/"+id+"/ports/8000/expose", "")
	t.equal(status, 204)
	status, _, text, _ = t.daemon.ask("DELETE", "/sandboxes/"+id+"/ports/8000/expose", "")
	t.equal([]any{status, strings.Contains(text, "port not exposed")}, []any{404, true})
}

func checkEvents(t *T) {
	request, _ := http.NewRequest("GET", "http://localhost/events", nil)
	response, err := t.daemon.client.Do(request)
	t.must(err)
	defer response.Body.Close()
	t.equal(response.Header.Get("Content-Type"), "text/event-stream")
	id := t.create(t.daemon, `{}`)
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data: ") && strings.Contains(lines.Text(), id) {
			t.equal(strings.Contains(lines.Text(), `"type":"sandbox.created"`), true, lines.Text())
			return
		}
	}
	panic(failure("the stream ended"))
}

func checkTenants(t *T) {
	id := t.create(t.tenants, `{"ttl":60}`)
	t.equal(t.exec(t.connect(t.tenants, id), "echo tenant").Stdout, "tenant\n")
	seed := make([]byte, 32)
	for i := range seed {
		seed[i] = byte(i)
	}
	other := newDaemon(t.tenants.socket, signer(seed, "other", ""))
	status, _, _, err := other.ask("DELETE", "/sandboxes/"+id, "")
	t.must(err)
	t.equal(status, 404)
	_, err = other.connect(id)
	var refused *StatusError
	t.equal(errors.As(err, &refused) && refused.Status == 404, true, err)
	_, _, text, _ := other.ask("GET", "/sandboxes", "")
	t.equal(text, "[]\n")
	status, _, text, _ = newDaemon(t.tenants.socket, nil).ask("GET", "/sandboxes", "")
	t.equal([]any{status, text}, []any{401, "{\"error\":\"authentication failed\",\"code\":\"unauthenticated\"}\n"})
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: v1client SOCKET TENANT_SOCKET")
		os.Exit(2)
	}
	seed := make([]byte, 32)
	for i := range seed {
		seed[i] = byte(i)
	}
	checks := []struct {
		name string
		run  func(*T)
	}{
		{"exec", checkExec}, {"files", checkFiles}, {"archives", checkArchives}, {"encryption", checkEncryption},
		{"stream", checkStream}, {"spawn and kill", checkSpawnAndKill}, {"terminal", checkTerminal}, {"takeover", checkTakeover},
		{"resume", checkResume}, {"tunnel", checkTunnel}, {"events", checkEvents}, {"tenants", checkTenants},
	}
	failed := 0
	for _, check := range checks {
		t := &T{daemon: newDaemon(os.Args[1], nil), tenants: newDaemon(os.Args[2], signer(seed, "acme", "5"))}
		problem := func() (problem any) {
			defer func() { problem = recover() }()
			check.run(t)
			return nil
		}()
		for i := len(t.cleanups) - 1; i >= 0; i-- {
			t.cleanups[i]()
		}
		if problem != nil {
			failed++
			fmt.Printf("FAIL %s: %v\n", check.name, problem)
		} else {
			fmt.Printf("ok   %s\n", check.name)
		}
	}
	if failed > 0 {
		os.Exit(1)
	}
}
