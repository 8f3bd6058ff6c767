// Command bench tells what the binding costs, as JSON on standard output.
//
//	env_get_us  one Env.Get in process, one after the other: in a context that never ends, in one that may, and by 8
//	            goroutines at once. Compare with env_get_floor (C++) and env_get_c of the same build, run beside it
//	file_mib_s  a 64 MiB file through a Writer (in) and a Reader (out), and how much the process grew at most meanwhile
//	parallel    200 programs at once: threads at most, and how late a timer of 1 ms was
//	soak        rounds of create, exec, destroy: memory and descriptors after a tenth of them and at the end
//
// With -turns it measures what it is told, see benchmarks/bindings/take-turns.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sandbox.dev/sandbox"
)

// spread is times in microseconds.
type spread struct {
	P10 float64 `json:"p10"`
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

func spreadOf(times []time.Duration) spread {
	slices.Sort(times)
	at := func(part float64) float64 {
		return math.Round(float64(times[int(part*float64(len(times)-1))])/100) / 10
	}
	return spread{at(0.1), at(0.5), at(0.99)}
}

func envGet(ctx context.Context, box *sandbox.Sandbox, count int) (spread, error) {
	times := make([]time.Duration, count)
	for i := range times {
		begin := time.Now()
		if _, _, err := box.Env().Get(ctx, "HOME"); err != nil {
			return spread{}, err
		}
		times[i] = time.Since(begin)
	}
	return spreadOf(times), nil
}

func envGetBy(ctx context.Context, box *sandbox.Sandbox, goroutines, count int) (spread, error) {
	var (
		group sync.WaitGroup
		mutex sync.Mutex
		times []time.Duration
		first error
	)
	for range goroutines {
		group.Go(func() {
			own := make([]time.Duration, 0, count)
			for range count {
				begin := time.Now()
				if _, _, err := box.Env().Get(ctx, "HOME"); err != nil {
					mutex.Lock()
					first = err
					mutex.Unlock()
					return
				}
				own = append(own, time.Since(begin))
			}
			mutex.Lock()
			times = append(times, own...)
			mutex.Unlock()
		})
	}
	group.Wait()
	if first != nil {
		return spread{}, first
	}
	return spreadOf(times), nil
}

const fileSize = 64 << 20

// rates is of several transfers, in MiB/s.
type rates struct {
	Median float64 `json:"median"`
	Best   float64 `json:"best"`
	Worst  float64 `json:"worst"`
}

func ratesOf(seconds []float64) rates {
	slices.Sort(seconds)
	rate := func(s float64) float64 { return math.Round(fileSize / (1 << 20) / s) }
	return rates{rate(seconds[len(seconds)/2]), rate(seconds[0]), rate(seconds[len(seconds)-1])}
}

func fileIn(ctx context.Context, box *sandbox.Sandbox, block []byte) (float64, error) {
	begin := time.Now()
	writer, err := box.FS().Create(ctx, "/tmp/large")
	if err != nil {
		return 0, err
	}
	for range fileSize / len(block) {
		if _, err := writer.Write(block); err != nil {
			return 0, err
		}
	}
	if err := writer.Close(); err != nil {
		return 0, err
	}
	return time.Since(begin).Seconds(), nil
}

func fileOut(ctx context.Context, box *sandbox.Sandbox) (float64, error) {
	begin := time.Now()
	reader, err := box.FS().Open(ctx, "/tmp/large")
	if err != nil {
		return 0, err
	}
	got, err := io.Copy(counter{}, reader)
	reader.Close()
	if err != nil || got != fileSize {
		return 0, fmt.Errorf("%d bytes came back: %w", got, err)
	}
	return time.Since(begin).Seconds(), nil
}

func randomBlock() []byte {
	block := make([]byte, 1<<20)
	rand.Read(block)
	return block
}

func files(ctx context.Context, box *sandbox.Sandbox, count int) (map[string]any, error) {
	block := randomBlock()
	before := memoryKiB("VmRSS:")
	var in, out []float64
	for range count {
		took, err := fileIn(ctx, box, block)
		if err != nil {
			return nil, err
		}
		in = append(in, took)
		if took, err = fileOut(ctx, box); err != nil {
			return nil, err
		}
		out = append(out, took)
	}
	grown := memoryKiB("VmHWM:") - before
	return map[string]any{"in": ratesOf(in), "out": ratesOf(out), "grown_mib": grown / 1024}, nil
}

// counter takes everything; io.Copy gives it the reader's own pieces.
type counter struct{}

func (counter) Write(content []byte) (int, error) { return len(content), nil }

const programs = 200

func parallel(ctx context.Context, box *sandbox.Sandbox) (map[string]any, error) {
	before, most := threads(), atomic.Int64{}
	done := make(chan struct{})
	var late []time.Duration
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for {
			begin := time.Now()
			select {
			case <-time.After(time.Millisecond):
				late = append(late, time.Since(begin)-time.Millisecond)
				most.Store(max(most.Load(), int64(threads())))
			case <-done:
				return
			}
		}
	})
	begin := time.Now()
	var group sync.WaitGroup
	errs := make(chan error, programs)
	for range programs {
		group.Go(func() {
			result, err := box.Process().Exec(ctx, sandbox.Program("true"))
			if err == nil && !result.OK() {
				err = fmt.Errorf("true: %v", result.ExitStatus)
			}
			if err != nil {
				errs <- err
			}
		})
	}
	group.Wait()
	took := time.Since(begin)
	close(done)
	watcher.Wait()
	select {
	case err := <-errs:
		return nil, err
	default:
	}
	return map[string]any{
		"programs": programs, "seconds": math.Round(took.Seconds()*1e3) / 1e3, "late_us": spreadOf(late),
		"threads": map[string]int64{"before": int64(before), "most": most.Load()},
	}, nil
}

func soak(ctx context.Context, maker sandbox.Creator, rounds int) (map[string]any, error) {
	measure := func() (int, int) {
		runtime.GC()
		if err := maker.WaitWarm(ctx); err != nil { // the pool's own descriptors
			log.Print(err)
		}
		return memoryKiB("VmRSS:"), entries("/proc/self/fd")
	}
	var memory, descriptors int
	begin := time.Now()
	for round := range rounds {
		if round == rounds/10 { // the first tenth warms caches; what grows after it is a leak
			memory, descriptors = measure()
		}
		box, err := maker.Create(ctx)
		if err != nil {
			return nil, err
		}
		if _, err := box.Process().Exec(ctx, sandbox.Program("true")); err != nil {
			return nil, err
		}
		if err := box.Close(); err != nil {
			return nil, err
		}
	}
	took := time.Since(begin)
	memoryNow, descriptorsNow := measure()
	return map[string]any{
		"rounds": rounds, "per_second": math.Round(float64(rounds) / took.Seconds()),
		"memory_kib":  map[string]int{"begin": memory, "end": memoryNow},
		"descriptors": map[string]int{"begin": descriptors, "end": descriptorsNow},
	}, nil
}

func entries(directory string) int {
	list, err := os.ReadDir(directory)
	if err != nil {
		log.Fatal(err)
	}
	return len(list)
}

func threads() int { return entries("/proc/self/task") }

func memoryKiB(key string) int {
	file, err := os.Open("/proc/self/status")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), key); ok {
			count, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				log.Fatal(err)
			}
			return count
		}
	}
	log.Fatalf("no %s", key)
	return 0
}

func run(quick bool, rounds int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	maker, err := sandbox.Open(ctx, &sandbox.RuntimeOptions{Warm: []sandbox.Warm{{Count: 4}}})
	if err != nil {
		return err
	}
	defer maker.Close()
	box, err := maker.Create(ctx, sandbox.Spec{PIDs: 512, Memory: 1 << 30})
	if err != nil {
		return err
	}
	defer box.Close()
	count, transfers := 20000, 7
	if quick {
		count, transfers = 3000, 3
	}
	figures := map[string]any{}
	env := map[string]spread{}
	if env["unending"], err = envGet(context.Background(), box, count); err != nil {
		return err
	}
	if env["cancellable"], err = envGet(ctx, box, count); err != nil {
		return err
	}
	if env["by_8"], err = envGetBy(ctx, box, 8, count/8); err != nil {
		return err
	}
	figures["env_get_us"] = env
	if figures["file_mib_s"], err = files(ctx, box, transfers); err != nil {
		return err
	}
	if figures["parallel"], err = parallel(ctx, box); err != nil {
		return err
	}
	if rounds > 0 {
		if figures["soak"], err = soak(ctx, maker, rounds); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(figures, "", "  ")
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	return nil
}

// turns answers each line of standard input with a figure.
func turns() error {
	ctx := context.Background()
	maker, err := sandbox.Open(ctx, nil)
	if err != nil {
		return err
	}
	defer maker.Close()
	box, err := maker.Create(ctx, sandbox.Spec{Memory: 1 << 30, Disk: 512 << 20})
	if err != nil {
		return err
	}
	defer box.Close()
	block := randomBlock()
	whole := bytes.Repeat(block, fileSize/len(block))
	before := memoryKiB("VmHWM:")
	rate := func(seconds float64) float64 { return fileSize / (1 << 20) / seconds }
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		words := strings.Fields(lines.Text())
		var figure float64
		begin := time.Now()
		switch words[0] {
		case "env":
			var count int
			if count, err = strconv.Atoi(words[1]); err == nil {
				var times spread
				times, err = envGet(ctx, box, count)
				figure = times.P50
			}
		case "in":
			figure, err = fileIn(ctx, box, block)
			figure = rate(figure)
		case "out":
			figure, err = fileOut(ctx, box)
			figure = rate(figure)
		case "write":
			err = box.FS().Write(ctx, "/tmp/large", whole)
			figure = rate(time.Since(begin).Seconds())
		case "read":
			_, err = box.FS().Read(ctx, "/tmp/large")
			figure = rate(time.Since(begin).Seconds())
		case "memory":
			figure = float64(memoryKiB("VmHWM:")-before) / 1024
		}
		if err != nil {
			return err
		}
		fmt.Println(figure)
	}
	return nil
}

func main() {
	quick := flag.Bool("quick", false, "fewer of everything")
	rounds := flag.Int("soak", 0, "rounds of create, exec, destroy")
	inTurns := flag.Bool("turns", false, "measure what standard input says")
	flag.Parse()
	if *inTurns {
		if err := turns(); err != nil {
			log.Fatal(err)
		}
		return
	}
	if err := run(*quick, *rounds); err != nil {
		log.Fatal(err)
	}
}
