package sandbox

/*
#include <sandbox/c.h>
*/
import "C"

import (
	"bytes"
	"io"
	"math"
	"strings"
	"time"
)

// NoOutput as Command.MaxOutput keeps no output.
const NoOutput = math.MaxUint64

// TerminalSize is in character cells.
type TerminalSize struct{ Rows, Columns uint16 }

// Command says what to run: a shell line or a program with arguments. See Shell and Program.
type Command struct {
	Line string   // run by the sandbox's /bin/sh -c
	Argv []string // or: program and arguments; nothing is interpreted

	Env      map[string]string // on top of the sandbox's
	ClearEnv bool              // nothing but Env
	Workdir  string            // absolute; default: the spec's
	// Timeout is how long the program may run; then its group is killed and the result says TimedOut. 0: for ever. The
	// end of a context kills, too, but that is an error of the call.
	Timeout time.Duration
	// MaxOutput is how many bytes are kept per stream; what goes beyond is dropped and counted. 0: 1 MiB for Exec, no limit
	// for Spawn and for streams with a writer. NoOutput: none.
	MaxOutput uint64

	// Stdin is what the program reads, then end of file. Default: /dev/null. A program may end before it has read all of
	// it; Exec does not wait for a Read of Stdin that is under way then.
	Stdin io.Reader
	// Stdout and Stderr, with Exec, get the output as it comes, instead of the result.
	Stdout, Stderr io.Writer
	// OpenStdin, with Spawn, keeps standard input open for RunningProcess.Stdin.
	OpenStdin bool
	// Terminal, with Spawn, runs the program on a terminal of this size: one stream, job control, Resize.
	Terminal    *TerminalSize
	MergeStderr bool // sends standard error to the standard output
	// IdempotencyKey (at most 64 bytes) makes a second run with the same key get the first one's outcome.
	IdempotencyKey string
}

// Shell is a line for the sandbox's shell.
func Shell(line string) *Command { return &Command{Line: line} }

// Program is a program with arguments; no shell is involved.
func Program(name string, arguments ...string) *Command {
	return &Command{Argv: append([]string{name}, arguments...)}
}

// lend is valid until p is unpinned. input: nil for none.
func (c *Command) lend(p *pins, input []byte, hasInput, openInput bool) *C.sbx_command {
	lent := &C.sbx_command{
		struct_size: C.sizeof_sbx_command, line: p.view(c.Line), clear_env: flag(c.ClearEnv), workdir: p.view(c.Workdir),
		timeout_ms: millis(c.Timeout), max_output: C.uint64_t(c.MaxOutput), open_input: flag(openInput),
		merge_stderr: flag(c.MergeStderr), idempotency_key: p.view(c.IdempotencyKey),
	}
	lent.argv, lent.argv_size = p.views(c.Argv)
	lent.env, lent.env_size = p.pairs(c.Env)
	if hasInput {
		text := p.viewBytes(input)
		p.Pin(&text)
		lent.input = &text
	}
	if c.Terminal != nil {
		lent.rows, lent.columns = C.uint16_t(c.Terminal.Rows), C.uint16_t(c.Terminal.Columns)
	}
	return lent
}

// maxInline is how much input goes along with the command; more is streamed.
const maxInline = 256 << 10

// inlineInput takes the input if it is in memory and small. streamed: it has to be streamed.
func (c *Command) inlineInput() (input []byte, has, streamed bool) {
	switch source := c.Stdin.(type) {
	case nil:
		return nil, false, false
	case *strings.Reader, *bytes.Reader, *bytes.Buffer:
		if source.(interface{ Len() int }).Len() > maxInline {
			return nil, false, true
		}
		input, _ = io.ReadAll(source) // these cannot fail
		return input, true, false
	}
	return nil, false, true
}
