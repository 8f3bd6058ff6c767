// A server inside, reached without a network: through a dialer, and through a port of this host.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"

	"sandbox.dev/sandbox"
)

func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	fmt.Printf("%s", body)
	return err
}

func run(ctx context.Context) error {
	runtime, err := sandbox.Open(ctx, nil)
	if err != nil {
		return err
	}
	defer runtime.Close()
	box, err := runtime.Create(ctx)
	if err != nil {
		return err
	}
	defer box.Close()
	if err := box.FS().Write(ctx, "/root/www/index.html", []byte("from inside\n"), sandbox.MakeParents()); err != nil {
		return err
	}
	server, err := box.Process().Spawn(ctx, &sandbox.Command{
		Argv: []string{"python3", "-m", "http.server", "8000"}, Workdir: "/root/www", MaxOutput: sandbox.NoOutput,
	})
	if err != nil {
		return err
	}
	defer server.Close()

	// Connections of this program alone.
	transport := &http.Transport{DialContext: box.Net().DialContext}
	defer transport.CloseIdleConnections()
	if err := get(ctx, &http.Client{Transport: transport}, "http://sandbox:8000/"); err != nil {
		return err
	}

	// A port of this host, for everybody on it.
	exposed, err := box.Net().Expose(ctx, 8000, 0)
	if err != nil {
		return err
	}
	fmt.Println("port", exposed.Port, "at", exposed.HostAddress)
	return get(ctx, http.DefaultClient, exposed.URL())
}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
