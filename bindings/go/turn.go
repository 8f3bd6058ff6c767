package sandbox

import "context"

// turn is a mutex whose waiting ends with a context. The library's streams take one read and one write at a time.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	if ctx == nil {
		return invalid("the context is nil")
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return contextError(ctx)
	}
}

func (t turn) give() { <-t }
