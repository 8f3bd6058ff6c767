package sandbox

/*
#include <sandbox/c.h>
*/
import "C"

import (
	"context"
)

// Env is the environment that later commands of one sandbox start with. Names: not empty, no '=' or NUL. Copy freely.
type Env struct{ box *Sandbox }

// Get is the value of a variable, and whether it is set.
func (e Env) Get(ctx context.Context, name string) (value string, set bool, err error) {
	bytes, err := e.box.ask(ctx, func(box *C.sbx_sandbox, bytes **C.sbx_bytes, failed **C.sbx_error) C.sbx_code {
		return C.sbx_env_get(box, view(name), bytes, failed)
	}, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_env_get_start(box, view(name)) })
	if err != nil || bytes == nil {
		return "", false, err
	}
	return takeText(bytes), true, nil
}

// Set sets a variable.
func (e Env) Set(ctx context.Context, name, value string) error {
	return e.box.do(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_env_set_start(box, view(name), view(value)) })
}

// Unset removes a variable; one that is not set is fine.
func (e Env) Unset(ctx context.Context, name string) error {
	return e.box.do(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_env_unset_start(box, view(name)) })
}

// All is every variable.
func (e Env) All(ctx context.Context) (map[string]string, error) {
	var list *C.sbx_env_list
	err := e.box.take(ctx, func(box *C.sbx_sandbox) *C.sbx_op { return C.sbx_env_all_start(box) },
		func(op *C.sbx_op, failed **C.sbx_error) C.sbx_code { return C.sbx_op_take_env(op, &list, failed) })
	if err != nil {
		return nil, err
	}
	defer C.sbx_env_list_free(&list)
	size := C.sbx_env_list_size(list)
	all := make(map[string]string, int(size))
	for i := C.size_t(0); i < size; i++ {
		var pair C.sbx_pair
		var failed *C.sbx_error
		if code := C.sbx_env_list_at(list, i, &pair, &failed); code != C.SBX_OK {
			return nil, takeError(nil, code, failed)
		}
		all[goString(pair.name)] = goString(pair.value)
	}
	return all, nil
}
