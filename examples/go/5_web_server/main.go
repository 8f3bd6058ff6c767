// A web server that runs what it is sent: POST a Python program, get its output. Each request has a sandbox of its own, taken
// from a warm pool.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"sandbox.dev/sandbox"
)

type server struct{ maker sandbox.Creator }

func (s server) ServeHTTP(reply http.ResponseWriter, request *http.Request) {
	program, err := io.ReadAll(http.MaxBytesReader(reply, request.Body, 1<<20))
	if err != nil {
		http.Error(reply, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	if err := s.execute(request.Context(), reply, program); errors.Is(err, sandbox.ErrResourceExhausted) {
		http.Error(reply, "busy", http.StatusServiceUnavailable)
	} else if err != nil {
		http.Error(reply, err.Error(), http.StatusInternalServerError)
	}
}

func (s server) execute(ctx context.Context, reply http.ResponseWriter, program []byte) error {
	box, err := s.maker.Create(ctx, spec, sandbox.CreateTimeout(5*time.Second))
	if err != nil {
		return err
	}
	defer box.Close()
	if err := box.FS().Write(ctx, "/root/main.py", program); err != nil {
		return err
	}
	// The request's context: who hangs up ends the program.
	result, err := box.Process().Exec(ctx, &sandbox.Command{
		Argv: []string{"python3", "/root/main.py"}, Timeout: 10 * time.Second, MergeStderr: true,
	})
	if err != nil {
		return err
	}
	reply.Header().Set("X-Exit", result.String())
	_, err = reply.Write(result.Stdout)
	return err
}

var spec = sandbox.Spec{Memory: 128 << 20, PIDs: 64}

func run(ctx context.Context, address string, ready func(net.Addr)) error {
	runtime, err := sandbox.Open(ctx, &sandbox.RuntimeOptions{Warm: []sandbox.Warm{{Count: 4, Spec: spec}}})
	if err != nil {
		return err
	}
	defer runtime.Close()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	web := &http.Server{Handler: server{runtime}, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = web.Shutdown(context.Background()) })
	defer stop()
	ready(listener.Addr())
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func main() {
	address := flag.String("listen", "127.0.0.1:8080", "address to listen at")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *address, func(at net.Addr) { fmt.Printf("curl --data-binary 'print(6 * 7)' http://%v\n", at) }); err != nil {
		log.Fatal(err)
	}
}
