package sandbox

/*
#include <sandbox/c.h>
*/
import "C"

import (
	"bytes"
	"context"
	"io"
	"sync"
	"syscall"
	"unsafe"
)

// Process is the programs of one sandbox. Copy freely.
type Process struct{ box *Sandbox }

// Exec runs a program to its end and collects its output. How the program ended is in the result; an error means that it
// could not be run. When ctx ends, the program's group is killed and the error is ErrCancelled (or ErrDeadlineExceeded) and
// the context's; a result beside it is what there was until then.
//
// Errors: not_found (program or workdir), invalid_argument.
func (p Process) Exec(ctx context.Context, command *Command) (*ExecResult, error) {
	if command == nil {
		return nil, invalid("the command is nil")
	}
	if command.OpenStdin || command.Terminal != nil {
		return nil, invalid("OpenStdin and Terminal are for Spawn")
	}
	input, hasInput, streamed := command.inlineInput()
	if streamed || command.Stdout != nil || command.Stderr != nil {
		return p.execStreams(ctx, command, input, hasInput, streamed)
	}
	var result *C.sbx_exec_result
	if err := p.box.take(ctx, func(box *C.sbx_sandbox) *C.sbx_op {
		var pinned pins
		defer pinned.Unpin()
		return C.sbx_exec_start(box, command.lend(&pinned, input, hasInput, false))
	}, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code { return C.sbx_op_take_exec(op, &result, failed) }); err != nil {
		return nil, err
	}
	defer C.sbx_exec_result_free(&result)
	status := C.sbx_exit_status{struct_size: C.sizeof_sbx_exit_status}
	C.sbx_exec_result_status(result, &status)
	full := &ExecResult{newStatus(&status), copyView(C.sbx_exec_result_stdout(result)), copyView(C.sbx_exec_result_stderr(result))}
	if full.Cause == Killed && ctx.Err() != nil {
		return full, contextError(ctx)
	}
	return full, nil
}

// collector keeps the first bytes of a stream that nobody gave a writer for.
type collector struct {
	kept    bytes.Buffer
	room    uint64
	dropped uint64
}

func (c *collector) Write(content []byte) (int, error) {
	take := min(uint64(len(content)), c.room)
	c.kept.Write(content[:take])
	c.room -= take
	c.dropped += uint64(len(content)) - take
	return len(content), nil
}

// execStreams is Exec for commands with readers and writers of their own.
func (p Process) execStreams(ctx context.Context, command *Command, input []byte, hasInput, streamed bool) (*ExecResult, error) {
	running, err := p.spawn(ctx, command, input, hasInput, streamed)
	if err != nil {
		return nil, err
	}
	defer running.Close()
	var fed chan error
	if streamed {
		fed = make(chan error, 1)
		go func() { fed <- running.feed(command.Stdin) }()
	}
	limit := command.MaxOutput
	if limit == 0 {
		limit = 1 << 20
	} else if limit == NoOutput {
		limit = 0
	}
	kept := [2]collector{{room: limit}, {room: limit}}
	targets := [2]io.Writer{&kept[0], &kept[1]}
	for i, writer := range []io.Writer{command.Stdout, command.Stderr} {
		if writer != nil {
			targets[i] = writer
		}
	}
	for {
		chunk, err := running.Read(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if _, err := targets[chunk.Stream-Stdout].Write(chunk.Data); err != nil {
			return nil, err
		}
	}
	status, err := running.Wait(ctx)
	if err != nil {
		return nil, err
	}
	status.StdoutDropped += kept[0].dropped
	status.StderrDropped += kept[1].dropped
	if fed != nil {
		select {
		case err := <-fed: // what the input failed with matters; that the program did not read all of it does not
			if err != nil {
				return nil, err
			}
		default: // waits in command.Stdin for what nobody wants any more
		}
	}
	return &ExecResult{status, kept[0].kept.Bytes(), kept[1].kept.Bytes()}, nil
}

// Spawn starts a program and returns as soon as it runs. ctx is for all of its life, as in exec.CommandContext: when it
// ends, the program's group is killed. Errors as Exec.
func (p Process) Spawn(ctx context.Context, command *Command) (*RunningProcess, error) {
	if command == nil {
		return nil, invalid("the command is nil")
	}
	if command.Stdout != nil || command.Stderr != nil {
		return nil, invalid("Stdout and Stderr are for Exec; read those of the process")
	}
	if command.OpenStdin && command.Stdin != nil {
		return nil, invalid("OpenStdin and Stdin exclude each other")
	}
	input, hasInput, streamed := command.inlineInput()
	running, err := p.spawn(ctx, command, input, hasInput, streamed || command.OpenStdin)
	if err == nil && streamed {
		go running.feed(command.Stdin)
	}
	return running, err
}

func (p Process) spawn(ctx context.Context, command *Command, input []byte, hasInput, open bool) (*RunningProcess, error) {
	var running *RunningProcess
	err := p.box.take(ctx, func(box *C.sbx_sandbox) *C.sbx_op {
		var pinned pins
		defer pinned.Unpin()
		return C.sbx_spawn_start(box, command.lend(&pinned, input, hasInput, open))
	}, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code {
		var made *C.sbx_process
		code := C.sbx_op_take_process(op, &made, failed)
		if code == C.SBX_OK {
			running = newRunningProcess(ctx, made, p.box.handle)
		}
		return code
	})
	return running, err
}

// Stream is one of a program's outputs.
type Stream int

// The streams.
const (
	Stdout Stream = 1
	Stderr Stream = 2
)

// String is "stdout" or "stderr".
func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

// Chunk is one piece of output, as it arrived.
type Chunk struct {
	Stream Stream
	Data   []byte
}

// RunningProcess is a program that runs in a sandbox. Output that nobody reads waits in the sandbox (256 KiB to 1 MiB), then
// the program blocks, as on any pipe. Read it by Read, or by Output, or by Stdout and Stderr. Safe for concurrent use.
// Close it.
type RunningProcess struct {
	ctx     context.Context
	handle  *handle
	pid     int
	unwatch func() bool
	reading turn
	writing turn
	output  demux
}

func newRunningProcess(ctx context.Context, made *C.sbx_process, box *handle) *RunningProcess {
	p := &RunningProcess{
		ctx: ctx, pid: int(C.sbx_process_pid(made)), reading: newTurn(), writing: newTurn(),
		handle: newHandle("process", unsafe.Pointer(made), box, func(object unsafe.Pointer) {
			process := (*C.sbx_process)(object)
			C.sbx_process_free(&process)
		}),
	}
	p.output.changed = sync.NewCond(&p.output.mutex)
	p.unwatch = p.endWith(ctx)
	return p
}

func (p *RunningProcess) core() *handle {
	if p == nil {
		return nil
	}
	return p.handle
}

// PID is the process id inside the sandbox.
func (p *RunningProcess) PID() int {
	if p == nil {
		return 0
	}
	return p.pid
}

// Read is the next output of either stream, or io.EOF when both have ended. When ctx ends nothing is lost.
func (p *RunningProcess) Read(ctx context.Context) (Chunk, error) {
	if p.core() == nil {
		return Chunk{}, invalid("this object was not made by the package's functions")
	}
	if err := p.reading.take(ctx); err != nil {
		return Chunk{}, err
	}
	defer p.reading.give()
	var stream C.int
	var content *C.sbx_bytes
	if err := call(ctx, p.handle, func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_process_read_start((*C.sbx_process)(object))
	}, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code {
		return C.sbx_op_take_output(op, &stream, &content, failed)
	}); err != nil {
		return Chunk{}, err
	}
	if content == nil {
		return Chunk{}, io.EOF
	}
	chunk := Chunk{Stdout, takeBytes(content)}
	if stream == 2 {
		chunk.Stream = Stderr
	}
	return chunk, nil
}

// Write writes all of content to standard input, and waits while the program does not read. Errors: failed_precondition
// (without OpenStdin, or closed).
func (p *RunningProcess) Write(ctx context.Context, content []byte) error {
	if p.core() == nil {
		return invalid("this object was not made by the package's functions")
	}
	if err := p.writing.take(ctx); err != nil {
		return err
	}
	defer p.writing.give()
	for first := true; first || len(content) > 0; first = false {
		part := content[:min(pieceSize, len(content))]
		content = content[len(part):]
		if err := call(ctx, p.handle, func(object unsafe.Pointer) *C.sbx_op {
			return C.sbx_process_write_start((*C.sbx_process)(object), viewBytes(part))
		}, takeNothing); err != nil {
			return err
		}
	}
	return nil
}

func (p *RunningProcess) now(use func(*C.sbx_process, **C.sbx_error) C.sbx_code) error {
	return direct(p.core(), func(object unsafe.Pointer, failed **C.sbx_error) C.sbx_code {
		return use((*C.sbx_process)(object), failed)
	})
}

// CloseStdin ends standard input. A second time does nothing.
func (p *RunningProcess) CloseStdin() error {
	return p.now(func(process *C.sbx_process, failed **C.sbx_error) C.sbx_code {
		return C.sbx_process_close_input(process, failed)
	})
}

// Signal sends a Linux signal to the program's group. No error if it has ended.
func (p *RunningProcess) Signal(signal syscall.Signal) error {
	return p.now(func(process *C.sbx_process, failed **C.sbx_error) C.sbx_code {
		return C.sbx_process_signal(process, C.int(signal), failed)
	})
}

// Resize changes the size of the program's terminal. Errors: failed_precondition (it has none).
func (p *RunningProcess) Resize(size TerminalSize) error {
	return p.now(func(process *C.sbx_process, failed **C.sbx_error) C.sbx_code {
		return C.sbx_process_resize(process, C.uint16_t(size.Rows), C.uint16_t(size.Columns), failed)
	})
}

// Kill kills the program's group; Wait then says Killed.
func (p *RunningProcess) Kill() error {
	return p.now(func(process *C.sbx_process, failed **C.sbx_error) C.sbx_code {
		return C.sbx_process_kill(process, failed)
	})
}

// Wait waits until the program has ended; output that was not read is dropped. Repeatable. When ctx ends, the program goes
// on.
func (p *RunningProcess) Wait(ctx context.Context) (ExitStatus, error) {
	got := C.sbx_exit_status{struct_size: C.sizeof_sbx_exit_status}
	if err := call(ctx, p.core(), func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_process_wait_start((*C.sbx_process)(object))
	}, func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code { return C.sbx_op_take_status(op, &got, failed) }); err != nil {
		return ExitStatus{}, err
	}
	return newStatus(&got), nil
}

// Close ends the program if it still runs, and every call that waits for it. A second Close does nothing.
func (p *RunningProcess) Close() error {
	return p.core().close(func(object unsafe.Pointer) error {
		p.unwatch()
		C.sbx_process_close((*C.sbx_process)(object))
		p.output.fail(closedError("process"))
		return nil
	})
}
