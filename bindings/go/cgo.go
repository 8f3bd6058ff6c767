package sandbox

/*
#cgo !sandbox_pkgconfig LDFLAGS: -lsandbox
#cgo sandbox_pkgconfig pkg-config: sandbox-c
#include <sandbox/c.h>
*/
import "C"

import (
	"encoding/json"
	"math"
	"runtime"
	"time"
	"unsafe"
)

// Version is the version of the shared library that this program runs with.
func Version() string { return C.GoString(C.sbx_version()) }

// view lends text to one call into the library, which copies what it keeps before it returns.
func view(text string) C.sbx_view {
	if text == "" {
		return C.sbx_view{}
	}
	return C.sbx_view{data: (*C.char)(unsafe.Pointer(unsafe.StringData(text))), size: C.size_t(len(text))}
}

// viewBytes is view for a slice.
func viewBytes(bytes []byte) C.sbx_view {
	if len(bytes) == 0 {
		return C.sbx_view{}
	}
	return C.sbx_view{data: (*C.char)(unsafe.Pointer(unsafe.SliceData(bytes))), size: C.size_t(len(bytes))}
}

// goString copies what a handle lends.
func goString(lent C.sbx_view) string {
	if lent.size == 0 {
		return ""
	}
	return string(unsafe.Slice((*byte)(unsafe.Pointer(lent.data)), int(lent.size)))
}

// lentBytes is the content of bytes without a copy: it ends with sbx_bytes_free.
func lentBytes(bytes *C.sbx_bytes) []byte {
	lent := C.sbx_bytes_view(bytes)
	if lent.size == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(lent.data)), int(lent.size))
}

// copyView copies what a handle lends; never nil.
func copyView(lent C.sbx_view) []byte {
	content := make([]byte, int(lent.size))
	if lent.size != 0 {
		copy(content, unsafe.Slice((*byte)(unsafe.Pointer(lent.data)), int(lent.size)))
	}
	return content
}

// takeBytes copies and frees; never nil.
func takeBytes(bytes *C.sbx_bytes) []byte {
	defer C.sbx_bytes_free(&bytes)
	return copyView(C.sbx_bytes_view(bytes))
}

// takeText copies and frees.
func takeText(bytes *C.sbx_bytes) string {
	defer C.sbx_bytes_free(&bytes)
	return goString(C.sbx_bytes_view(bytes))
}

// takeJSON parses and frees.
func takeJSON(bytes *C.sbx_bytes, target any) error {
	defer C.sbx_bytes_free(&bytes)
	if err := json.Unmarshal(lentBytes(bytes), target); err != nil {
		return &Error{Code: CodeInternal, Operation: "go.json", Message: err.Error()}
	}
	return nil
}

// pins lends Go memory that structs point to. The structs themselves are Go memory too, so everything they point to must
// be pinned until the call that reads them has returned.
type pins struct{ runtime.Pinner }

func (p *pins) view(text string) C.sbx_view {
	lent := view(text)
	if lent.data != nil {
		p.Pin(lent.data)
	}
	return lent
}

func (p *pins) viewBytes(bytes []byte) C.sbx_view {
	lent := viewBytes(bytes)
	if lent.data != nil {
		p.Pin(lent.data)
	}
	return lent
}

func (p *pins) pairs(variables map[string]string) (*C.sbx_pair, C.size_t) {
	if len(variables) == 0 {
		return nil, 0
	}
	list := make([]C.sbx_pair, 0, len(variables))
	for name, value := range variables {
		list = append(list, C.sbx_pair{name: p.view(name), value: p.view(value)})
	}
	p.Pin(&list[0])
	return &list[0], C.size_t(len(list))
}

func (p *pins) views(texts []string) (*C.sbx_view, C.size_t) {
	if len(texts) == 0 {
		return nil, 0
	}
	list := make([]C.sbx_view, len(texts))
	for i, text := range texts {
		list[i] = p.view(text)
	}
	p.Pin(&list[0])
	return &list[0], C.size_t(len(list))
}

func flag(on bool) C.int {
	if on {
		return 1
	}
	return 0
}

// millis rounds up, so that a time that was asked for never becomes 0, which means the default.
func millis(time_ time.Duration) C.int64_t {
	if time_ > 0 {
		return C.int64_t((time_-1)/time.Millisecond + 1)
	}
	return C.int64_t(time_ / time.Millisecond)
}

func nanos(count C.uint64_t) time.Duration {
	if count > math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(count)
}
