package sandbox_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"sandbox.dev/sandbox"
)

// serve starts a web server inside that answers with a file, and waits until it does.
func serve(ctx context.Context, t *testing.T, box *sandbox.Sandbox, port string) {
	t.Helper()
	check(t, box.FS().Write(ctx, "/root/www/answer", []byte("from inside"), sandbox.MakeParents()))
	server, err := box.Process().Spawn(ctx, sandbox.Shell("cd /root/www && exec python3 -m http.server --bind 127.0.0.1 "+port+" 2>&1"))
	check(t, err)
	t.Cleanup(func() { server.Close() })
}

func TestConnect(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		serve(ctx, t, box, "8000")
		conn, err := box.Net().Connect(ctx, 8000)
		check(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "GET /answer HTTP/1.0\r\n\r\n")
		check(t, err)
		answer, err := io.ReadAll(conn)
		check(t, err)
		if len(answer) == 0 || string(answer[len(answer)-11:]) != "from inside" {
			t.Errorf("answer %q", answer)
		}
		idle, err := box.Net().Connect(ctx, 8000)
		check(t, err)
		defer idle.Close()
		check(t, idle.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		var timeout net.Error
		if _, err := idle.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("a deadline: %v", err)
		}
		client := http.Client{Transport: &http.Transport{DialContext: box.Net().DialContext}}
		response, err := client.Get("http://inside:8000/answer")
		check(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		check(t, err)
		equal(t, "body", string(body), "from inside")
		client.CloseIdleConnections()
		if _, err := box.Net().Connect(ctx, 0); !errors.Is(err, sandbox.ErrInvalidArgument) {
			t.Errorf("port 0: %v", err)
		}
		if _, err := box.Net().DialContext(ctx, "tcp", "inside:http"); !errors.Is(err, sandbox.ErrInvalidArgument) {
			t.Errorf("a port without a number: %v", err)
		}
		for range 10 { // the deadline and the answer come at the same moment
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			if _, err := box.Net().Connect(short, 4); !errors.Is(err, sandbox.ErrUnavailable) {
				t.Errorf("nobody listens on port 4: %v", err)
			}
			cancel()
		}
		short, cancel := context.WithCancel(ctx)
		time.AfterFunc(20*time.Millisecond, cancel)
		if _, err := box.Net().Connect(short, 4); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

func TestExpose(t *testing.T) {
	inBox(t, func(ctx context.Context, t *testing.T, box *sandbox.Sandbox) {
		serve(ctx, t, box, "8080")
		exposed, err := box.Net().Expose(ctx, 8080, 0)
		check(t, err)
		equal(t, "port inside", exposed.Port, 8080)
		response, err := http.Get(exposed.URL() + "/answer")
		check(t, err)
		body, err := io.ReadAll(response.Body)
		check(t, err)
		response.Body.Close()
		equal(t, "body", string(body), "from inside")
		ports, err := box.Net().List(ctx)
		check(t, err)
		equal(t, "ports", len(ports), 1)
		equal(t, "port", ports[0], exposed)
		check(t, box.Net().Close(ctx, 8080))
		ports, err = box.Net().List(ctx)
		check(t, err)
		equal(t, "ports", len(ports), 0)
		if err := box.Net().Close(ctx, 8080); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("close again: %v", err)
		}
	})
}
