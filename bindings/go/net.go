package sandbox

/*
#include <sandbox/c.h>
*/
import "C"

import (
	"context"
	"net"
	"os"
	"strconv"
)

// Net is the ports of one sandbox. It works without a network, too: connections are made inside. Copy freely.
type Net struct{ box *Sandbox }

// ExposedPort is a port of the host that leads to one inside.
type ExposedPort struct {
	Port        uint16 // inside
	HostPort    uint16
	HostAddress string // "127.0.0.1"
}

// Address is "127.0.0.1:port".
func (p ExposedPort) Address() string {
	return net.JoinHostPort(p.HostAddress, strconv.Itoa(int(p.HostPort)))
}

// URL is "http://127.0.0.1:port".
func (p ExposedPort) URL() string { return "http://" + p.Address() }

func newPort(port *C.sbx_port) ExposedPort {
	return ExposedPort{uint16(port.port), uint16(port.host_port), C.GoString(&port.host_address[0])}
}

// Connect gives a connection to a port on the sandbox's loopback. It tries again while nobody listens, until the deadline of
// ctx, or for 5 s without one. Errors: unavailable (nobody listens), invalid_argument (port 0).
func (n Net) Connect(ctx context.Context, port uint16) (net.Conn, error) {
	var fd C.int
	if err := n.box.take(keepsDeadline(ctx), func(box *C.sbx_sandbox) *C.sbx_op {
		return C.sbx_net_connect_start(box, C.uint16_t(port), untilDeadline(ctx))
	}, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code { return C.sbx_op_take_fd(op, &fd, failed) }); err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "sandbox port")
	defer file.Close()
	conn, err := net.FileConn(file) // with a descriptor of its own
	if err != nil {
		return nil, &Error{Code: CodeInternal, Operation: "go.net", Message: err.Error()}
	}
	return conn, nil
}

// DialContext is Connect in the form that http.Transport and others take. Only the port of address counts.
func (n Net) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, invalid(err.Error())
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || len(network) < 3 || network[:3] != "tcp" {
		return nil, invalid("only numbered TCP ports lead into a sandbox")
	}
	return n.Connect(ctx, uint16(port))
}

// Expose listens on a port of the host, 0 for any free one, and relays its connections to a port inside, until Close or
// the end of the sandbox. It waits for somebody to listen inside until the deadline of ctx, or 30 s without one.
// Errors: already_exists, deadline_exceeded.
func (n Net) Expose(ctx context.Context, port, hostPort uint16) (ExposedPort, error) {
	exposed := C.sbx_port{struct_size: C.sizeof_sbx_port}
	if err := n.box.take(ctx, func(box *C.sbx_sandbox) *C.sbx_op {
		return C.sbx_net_expose_start(box, C.uint16_t(port), C.uint16_t(hostPort), untilDeadline(ctx))
	}, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code { return C.sbx_op_take_port(op, &exposed, failed) }); err != nil {
		return ExposedPort{}, err
	}
	return newPort(&exposed), nil
}

// List is the exposed ports.
func (n Net) List(ctx context.Context) ([]ExposedPort, error) {
	var list *C.sbx_port_list
	if err := n.box.take(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_net_list_start(box) },
		func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code { return C.sbx_op_take_ports(op, &list, failed) }); err != nil {
		return nil, err
	}
	defer C.sbx_port_list_free(&list)
	ports := make([]ExposedPort, int(C.sbx_port_list_size(list)))
	for i := range ports {
		one := C.sbx_port{struct_size: C.sizeof_sbx_port}
		var failed *C.sbx_error
		if code := C.sbx_port_list_at(list, C.size_t(i), &one, &failed); code != C.SBX_OK {
			return nil, takeError(nil, code, failed)
		}
		ports[i] = newPort(&one)
	}
	return ports, nil
}

// Close ends the exposure of a port inside. Errors: not_found.
func (n Net) Close(ctx context.Context, port uint16) error {
	return n.box.do(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_net_close_start(box, C.uint16_t(port)) })
}
