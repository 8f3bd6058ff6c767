package sandbox

/*
#include <sandbox/c.h>
*/
import "C"

import (
	"context"
	"iter"
	"unsafe"
)

// EventStream is events of a runtime or a daemon, in order. Close it.
type EventStream struct {
	handle *handle
	turn   turn
}

func newEventStream(events *C.sbx_events, parent *handle) *EventStream {
	return &EventStream{handle: newHandle("event stream", unsafe.Pointer(events), parent, func(object unsafe.Pointer) {
		stream := (*C.sbx_events)(object)
		C.sbx_events_free(&stream)
	}), turn: newTurn()}
}

func (s *EventStream) core() *handle {
	if s == nil {
		return nil
	}
	return s.handle
}

// Next waits for the next event. Errors: cancelled (closed meanwhile), failed_precondition (the runtime was closed).
func (s *EventStream) Next(ctx context.Context) (Event, error) {
	var event Event
	if s.core() == nil {
		return event, invalid("this object was not made by the package's functions")
	}
	if err := s.turn.take(ctx); err != nil {
		return event, err
	}
	defer s.turn.give()
	err := callJSON(ctx, s.handle, &event, func(object unsafe.Pointer) *C.sbx_op {
		return C.sbx_events_next_start((*C.sbx_events)(object))
	})
	return event, err
}

// All is for range: every event from now on, up to the first error, which comes last.
func (s *EventStream) All(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			event, err := s.Next(ctx)
			if !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// Gap says whether events between those seen were lost.
func (s *EventStream) Gap() bool {
	object, err := s.core().acquire()
	if err != nil {
		return false
	}
	defer s.handle.release()
	return C.sbx_events_gap((*C.sbx_events)(object)) != 0
}

// Close ends the stream, and a Next that waits. A second Close does nothing.
func (s *EventStream) Close() error {
	return s.core().close(func(object unsafe.Pointer) error {
		C.sbx_events_cancel((*C.sbx_events)(object))
		return nil
	})
}
