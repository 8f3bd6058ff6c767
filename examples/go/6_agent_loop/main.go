// An agent's loop: a plan of a hundred commands, all of them at once, each with its own time limit, and a sandbox that
// outlives what goes wrong in them.
package main

import (
	"context"
	"fmt"
	"log"
	"sync"
	"time"

	"sandbox.dev/sandbox"
)

// outcome is what the agent sees of one command.
type outcome struct {
	line string
	text string
	err  error
}

// attempt runs one command; how it ended is something to tell the agent, not an error of this program.
func attempt(ctx context.Context, box *sandbox.Sandbox, line string) outcome {
	result, err := box.Process().Exec(ctx, &sandbox.Command{Line: line, Timeout: 20 * time.Second, MaxOutput: 64 << 10, MergeStderr: true})
	if err != nil {
		return outcome{line, "", err}
	}
	return outcome{line, fmt.Sprintf("%s(%v)", result.Stdout, result.ExitStatus), nil}
}

func run(ctx context.Context) error {
	runtime, err := sandbox.Open(ctx, nil)
	if err != nil {
		return err
	}
	defer runtime.Close()
	box, err := runtime.Create(ctx, sandbox.Spec{PIDs: 512, Memory: 512 << 20})
	if err != nil {
		return err
	}
	defer box.Close()
	outcomes := make([]outcome, 100)
	var group sync.WaitGroup
	for i := range outcomes {
		group.Go(func() {
			line := fmt.Sprintf("echo step %d > step.%d; cat step.%d", i, i, i)
			if i%25 == 24 {
				line = fmt.Sprintf("echo step %d fails; exit %d", i, i)
			}
			outcomes[i] = attempt(ctx, box, line)
		})
	}
	group.Wait()
	succeeded := 0
	for i, one := range outcomes {
		if one.err != nil {
			return one.err
		}
		if one.text == fmt.Sprintf("step %d\n(exited 0)", i) {
			succeeded++
		} else {
			fmt.Println(one.text)
		}
	}
	fmt.Println(succeeded, "steps succeeded")
	made, err := box.FS().Find(ctx, "/root", "step.*", nil)
	if err != nil {
		return err
	}
	fmt.Println(len(made), "files made")
	return nil
}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
