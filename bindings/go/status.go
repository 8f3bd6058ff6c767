package sandbox

/*
#include <sandbox/c.h>
*/
import "C"

import (
	"fmt"
	"syscall"
	"time"
)

// ExitCause is how a program ended: data, not an error.
type ExitCause int

// The causes.
const (
	Exited      ExitCause = 1 // by itself, with ExitCode
	Signalled   ExitCause = 2 // by a signal from inside the sandbox
	TimedOut    ExitCause = 3 // ran past its timeout
	OutOfMemory ExitCause = 4 // the kernel killed it at the sandbox's memory limit
	LimitHit    ExitCause = 5 // CPU time, file size or forbidden system call
	Killed      ExitCause = 6 // because its caller asked
)

// String is "exited", "timed_out", ….
func (c ExitCause) String() string { return C.GoString(C.sbx_exit_cause_name(C.sbx_exit_cause(c))) }

// ExitStatus is what is known after a program ended.
type ExitStatus struct {
	Cause         ExitCause
	ExitCode      int            // valid for Exited
	Signal        syscall.Signal // for every other cause
	CoreDumped    bool
	OOMKills      uint32 // in the sandbox while it ran, of any process
	StdoutBytes   uint64 // written by the program
	StderrBytes   uint64
	StdoutDropped uint64 // of these, beyond MaxOutput
	StderrDropped uint64
	WallTime      time.Duration
	UserTime      time.Duration
	SystemTime    time.Duration
	MaxRSS        uint64 // bytes
}

// OK says whether the program ended by itself with code 0.
func (s ExitStatus) OK() bool { return s.Cause == Exited && s.ExitCode == 0 }

// ShellCode is what a shell would say: the exit code, or 128 + signal; 124 when timed out.
func (s ExitStatus) ShellCode() int {
	status := C.sbx_exit_status{
		struct_size: C.sizeof_sbx_exit_status, cause: C.sbx_exit_cause(s.Cause), exit_code: C.int(s.ExitCode),
		signal: C.int(s.Signal),
	}
	return int(C.sbx_exit_status_shell_code(&status))
}

// String is "exited 1", "cancelled, signal: killed", ….
func (s ExitStatus) String() string {
	if s.Cause == Exited {
		return fmt.Sprintf("exited %d", s.ExitCode)
	}
	return fmt.Sprintf("%v, signal: %v", s.Cause, s.Signal)
}

func newStatus(got *C.sbx_exit_status) ExitStatus {
	return ExitStatus{
		Cause: ExitCause(got.cause), ExitCode: int(got.exit_code), Signal: syscall.Signal(got.signal),
		CoreDumped: got.core_dumped != 0, OOMKills: uint32(got.oom_kills), StdoutBytes: uint64(got.stdout_bytes),
		StderrBytes: uint64(got.stderr_bytes), StdoutDropped: uint64(got.stdout_dropped), StderrDropped: uint64(got.stderr_dropped),
		WallTime: nanos(got.wall_time_ns), UserTime: nanos(got.user_time_ns), SystemTime: nanos(got.system_time_ns),
		MaxRSS: uint64(got.max_rss),
	}
}

// ExecResult is the status and the kept output of a finished program.
type ExecResult struct {
	ExitStatus
	Stdout, Stderr []byte
}
