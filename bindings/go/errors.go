package sandbox

/*
#include <sandbox/c.h>
*/
import "C"

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// Code says what the caller should do about a failure. A Code is an error of its own, for errors.Is:
//
//	if errors.Is(err, sandbox.ErrNotFound) { … }
type Code int

// The codes, the same in every language and on the wire. New ones may be added.
const (
	CodeInvalidArgument    Code = 1 // the call itself is wrong; fix it
	CodeNotFound           Code = 2
	CodeAlreadyExists      Code = 3
	CodePermissionDenied   Code = 4
	CodeUnauthenticated    Code = 5
	CodeResourceExhausted  Code = 6 // a limit, quota or the host is full
	CodeFailedPrecondition Code = 7 // right call, wrong state (closed, paused, no such kernel feature)
	CodeUnavailable        Code = 8 // the other side is gone or not up yet
	CodeDeadlineExceeded   Code = 9
	CodeCancelled          Code = 10
	CodeUnsupported        Code = 11
	CodeProtocol           Code = 12
	CodeCorrupt            Code = 13
	CodeInternal           Code = 14 // a bug of the library; please report
)

// One error per code, for errors.Is.
var (
	ErrInvalidArgument    error = CodeInvalidArgument
	ErrNotFound           error = CodeNotFound
	ErrAlreadyExists      error = CodeAlreadyExists
	ErrPermissionDenied   error = CodePermissionDenied
	ErrUnauthenticated    error = CodeUnauthenticated
	ErrResourceExhausted  error = CodeResourceExhausted
	ErrFailedPrecondition error = CodeFailedPrecondition
	ErrUnavailable        error = CodeUnavailable
	ErrDeadlineExceeded   error = CodeDeadlineExceeded
	ErrCancelled          error = CodeCancelled
	ErrUnsupported        error = CodeUnsupported
	ErrProtocol           error = CodeProtocol
	ErrCorrupt            error = CodeCorrupt
	ErrInternal           error = CodeInternal
)

// String is the code's name, "not_found".
func (c Code) String() string { return C.GoString(C.sbx_code_name(C.sbx_code(c))) }

// Error is "sandbox: not found".
func (c Code) Error() string { return "sandbox: " + strings.ReplaceAll(c.String(), "_", " ") }

// Retry says whether doing the same again can help.
type Retry int

// When to try again.
const (
	RetryNever        Retry = 0
	RetryNow          Retry = 1
	RetryAfterBackoff Retry = 2
)

// String is "never", "now" or "after backoff".
func (r Retry) String() string {
	switch r {
	case RetryNow:
		return "now"
	case RetryAfterBackoff:
		return "after backoff"
	}
	return "never"
}

// Error is what every call of this package fails with. It is its Code for errors.Is, and besides that
//   - the package's Err… variable of its code;
//   - fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, fs.ErrClosed and os.ErrDeadlineExceeded where they fit;
//   - the syscall.Errno of a system call that failed;
//   - the context's error and its cause, when a context ended the call.
type Error struct {
	Code      Code
	Message   string        // one line for people; control bytes of text from inside a sandbox are escaped
	Operation string        // the dotted step that failed, "native.mount", or empty
	Errno     syscall.Errno // of the system call that failed, or 0
	Retry     Retry

	closed bool
	causes []error
}

// Error is all of it in one line.
func (e *Error) Error() string {
	text := "sandbox: "
	if e.Operation != "" {
		text += e.Operation + ": "
	}
	if e.Message != "" {
		text += e.Message + " "
	}
	text += "(" + e.Code.String() + ")"
	for _, cause := range e.causes {
		text += ": " + cause.Error()
	}
	return text
}

// Is compares with codes and the errors of the standard library that mean the same.
func (e *Error) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Code == CodeNotFound
	case fs.ErrExist:
		return e.Code == CodeAlreadyExists
	case fs.ErrPermission:
		return e.Code == CodePermissionDenied
	case fs.ErrClosed:
		return e.closed
	case os.ErrDeadlineExceeded:
		return e.Code == CodeDeadlineExceeded
	}
	switch other := target.(type) {
	case Code:
		return e.Code == other
	case syscall.Errno:
		return e.Errno != 0 && e.Errno == other
	}
	return false
}

// Unwrap is the error and cause of the context that ended the call, if one did.
func (e *Error) Unwrap() []error { return e.causes }

// takeError turns what a call returned into an error, nil for success, and frees failed. ctx may be nil.
func takeError(ctx context.Context, code C.sbx_code, failed *C.sbx_error) error {
	if code == C.SBX_OK {
		return nil
	}
	err := &Error{Code: Code(code), Message: "no more is known"}
	if failed != nil {
		err.Message = goString(C.sbx_error_message(failed))
		err.Operation = goString(C.sbx_error_operation(failed))
		err.Errno = syscall.Errno(C.sbx_error_errno(failed))
		err.Retry = Retry(C.sbx_error_retry(failed))
		C.sbx_error_free(&failed)
	}
	if ctx != nil && (err.Code == CodeCancelled || err.Code == CodeDeadlineExceeded) {
		err.causes = contextCauses(ctx)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err.Code = CodeDeadlineExceeded // cancelled, because of its deadline
		}
	}
	return err
}

func contextCauses(ctx context.Context) []error {
	ended := ctx.Err()
	if ended == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != ended {
		return []error{ended, cause}
	}
	return []error{ended}
}

// contextError is for a call that a context ended before it began.
func contextError(ctx context.Context) error {
	err := &Error{Code: CodeCancelled, Message: "the context has ended", causes: contextCauses(ctx)}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err.Code = CodeDeadlineExceeded
	}
	return err
}

func closedError(kind string) error {
	return &Error{Code: CodeFailedPrecondition, Message: "this " + kind + " is closed", closed: true}
}

func invalid(message string) error { return &Error{Code: CodeInvalidArgument, Message: message} }

func outOfMemory() error { return &Error{Code: CodeResourceExhausted, Message: "no memory"} }
