package sandbox_test

import (
	"context"
	"testing"
)

func BenchmarkEnvGet(b *testing.B) {
	bench := func(name string, ctx context.Context) {
		b.Run(name, func(b *testing.B) {
			box, err := runtimeHere.Create(ctx)
			if err != nil {
				b.Fatal(err)
			}
			defer box.Close()
			for b.Loop() {
				if _, _, err := box.Env().Get(ctx, "PATH"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	bench("background", context.Background())
	bench("cancellable", b.Context())
}

func BenchmarkStat(b *testing.B) {
	ctx := context.Background()
	box, err := runtimeHere.Create(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer box.Close()
	for b.Loop() {
		if _, err := box.FS().Stat(ctx, "/root"); err != nil {
			b.Fatal(err)
		}
	}
}
