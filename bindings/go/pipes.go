package sandbox

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
	"weak"
)

// endWith kills the program when ctx ends, without keeping it from the garbage collector until then.
func (p *RunningProcess) endWith(ctx context.Context) (stop func() bool) {
	target := weak.Make(p)
	return context.AfterFunc(ctx, func() {
		if p := target.Value(); p != nil {
			_ = p.Kill() // it may have ended: nothing to kill
			p.output.fail(contextError(ctx))
		}
	})
}

// Output is for range: every piece of output until both streams have ended, up to the first error, which comes last.
func (p *RunningProcess) Output() iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		if p == nil || p.handle == nil {
			yield(Chunk{}, invalid("this object was not made by the package's functions"))
			return
		}
		for {
			chunk, err := p.Read(p.ctx)
			if err == io.EOF || !yield(chunk, err) || err != nil {
				return
			}
		}
	}
}

// Stdin is standard input, of a program with OpenStdin.
func (p *RunningProcess) Stdin() io.WriteCloser { return stdin{p} }

// Stdout is standard output, or all output of a program on a terminal. Once either of Stdout and Stderr was asked for, what
// belongs to the other one is kept for it if it was asked for, too, up to 1 MiB, and dropped if it was not. So ask for both
// before reading, and read both, as with any two pipes.
func (p *RunningProcess) Stdout() io.Reader { return p.pipe(Stdout) }

// Stderr is standard error; see Stdout.
func (p *RunningProcess) Stderr() io.Reader { return p.pipe(Stderr) }

func (p *RunningProcess) pipe(stream Stream) io.Reader {
	if p != nil && p.handle != nil {
		p.output.mutex.Lock()
		p.output.wanted[stream-Stdout] = true
		p.output.mutex.Unlock()
	}
	return pipe{p, stream}
}

type stdin struct{ process *RunningProcess }

func (s stdin) Write(content []byte) (int, error) {
	if s.process == nil {
		return 0, invalid("this object was not made by the package's functions")
	}
	if err := s.process.Write(s.process.ctx, content); err != nil {
		return 0, err
	}
	return len(content), nil
}

func (s stdin) Close() error { return s.process.CloseStdin() }

// feed writes all of source to standard input and ends it. That the program does not read it all is no error.
func (p *RunningProcess) feed(source io.Reader) error {
	buffer := make([]byte, pieceSize)
	for {
		count, err := source.Read(buffer)
		if count > 0 {
			if failed := p.Write(p.ctx, buffer[:count]); failed != nil {
				return nil // the program, its sandbox or the context has ended; who waits for it hears why
			}
		}
		if err != nil {
			_ = p.CloseStdin() // the same
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// maxUnread is how much of one stream is kept while only the other one is read.
const maxUnread = 1 << 20

// demux hands the pieces that come in one row to the readers of two streams. Whoever finds nothing for himself fetches.
type demux struct {
	mutex    sync.Mutex
	changed  *sync.Cond
	wanted   [2]bool
	unread   [2][][]byte
	size     [2]int
	fetching bool
	err      error
}

type pipe struct {
	process *RunningProcess
	stream  Stream
}

// Read is io.Reader.
func (r pipe) Read(buffer []byte) (int, error) {
	if r.process == nil || r.process.handle == nil {
		return 0, invalid("this object was not made by the package's functions")
	}
	if len(buffer) == 0 {
		return 0, nil
	}
	d, own := &r.process.output, int(r.stream-Stdout)
	d.mutex.Lock()
	defer d.mutex.Unlock()
	for {
		switch {
		case d.size[own] > 0:
			return d.give(own, buffer), nil
		case d.err != nil:
			return 0, d.err
		case d.fetching || d.size[1-own] >= maxUnread:
			d.changed.Wait()
		default:
			d.fetch(r.process)
		}
	}
}

// fail wakes who waits for the other stream to be read.
func (d *demux) fail(err error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.err == nil {
		d.err = err
	}
	d.changed.Broadcast()
}

func (d *demux) give(own int, buffer []byte) int {
	count := 0
	for count < len(buffer) && d.size[own] > 0 {
		first := d.unread[own][0]
		part := copy(buffer[count:], first)
		count += part
		d.size[own] -= part
		if part == len(first) {
			d.unread[own] = d.unread[own][1:]
		} else {
			d.unread[own][0] = first[part:]
		}
	}
	d.changed.Broadcast()
	return count
}

// fetch unlocks meanwhile.
func (d *demux) fetch(process *RunningProcess) {
	d.fetching = true
	d.mutex.Unlock()
	chunk, err := process.Read(process.ctx)
	d.mutex.Lock()
	d.fetching = false
	if err != nil && d.err == nil {
		d.err = err
	}
	if to := int(chunk.Stream - Stdout); err == nil && d.wanted[to] && len(chunk.Data) > 0 {
		d.unread[to] = append(d.unread[to], chunk.Data)
		d.size[to] += len(chunk.Data)
	}
	d.changed.Broadcast()
}
