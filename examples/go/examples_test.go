// Package examples runs every example as it is: built, started, and its output compared.
package examples

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func program(t *testing.T, ctx context.Context, name string, arguments ...string) *exec.Cmd {
	t.Helper()
	target := filepath.Join(t.TempDir(), name)
	if text, err := exec.CommandContext(ctx, "go", "build", "-o", target, "./"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	cmd := exec.CommandContext(ctx, target, arguments...)
	cmd.Env = append(os.Environ(), "SANDBOX_STATE_DIR="+t.TempDir())
	return cmd
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestExamples(t *testing.T) {
	for name, wanted := range map[string]string{
		"1_hello":     "hello\n",
		"2_streaming": "you said: one\nyou said: two\nbye\nexited 0\nstdout: out\nstderr: err\n24 80\r\nSHOUT\n",
		"3_files": "created /root/notes\nnot there\n16777216 bytes\npacked one.txt\n" +
			"-rw------- 6 notes/one.txt\n",
		"4_ports": "from inside\nport 8000 at 127.0.0.1\nfrom inside\n",
		"6_agent_loop": "step 24 fails\n(exited 24)\nstep 49 fails\n(exited 49)\nstep 74 fails\n(exited 74)\nstep 99 fails\n(exited 99)\n" +
			"96 steps succeeded\n96 files made\n",
	} {
		t.Run(name, func(t *testing.T) {
			cmd := program(t, limited(t), name)
			var errs bytes.Buffer
			cmd.Stderr = &errs
			got, err := cmd.Output()
			if err != nil || string(got) != wanted {
				t.Fatalf("%v\n%s\n%q, wanted\n%q", err, &errs, got, wanted)
			}
		})
	}
}

func TestWebServer(t *testing.T) {
	ctx := limited(t)
	cmd := program(t, ctx, "5_web_server", "-listen", "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url := strings.TrimSpace(line[strings.Index(line, "http://"):])
	for program, wanted := range map[string]string{"print(6 * 7)": "42\n", "import os; os._exit(3)": ""} {
		response, err := http.Post(url, "text/x-python", strings.NewReader(program))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || string(body) != wanted || response.StatusCode != http.StatusOK {
			t.Errorf("%q: %v %v %q", program, response.Status, err, body)
		}
		if wanted == "" && response.Header.Get("X-Exit") != "exited 3" {
			t.Errorf("exit %q", response.Header.Get("X-Exit"))
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
