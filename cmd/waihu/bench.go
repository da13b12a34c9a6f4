package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// runBench measures one part on this machine. Figures of a shared machine are worth comparing only
// within one run; docs/benchmarks.md says how each was taken.
func runBench(ctx context.Context, std stdio, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the command
		select {
		case <-std.signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	switch args[0] {
	case "schedule":
		return benchSchedule(ctx, std, args[1:])
	case "import":
		return benchImport(ctx, std, args[1:])
	case "webhook":
		return benchWebhook(ctx, std, args[1:])
	case "callbacks":
		return benchCallbacks(ctx, std, args[1:])
	case "book":
		return benchBook(ctx, std, args[1:])
	case "review":
		return benchReview(ctx, std, args[1:])
	case "media":
		return benchMedia(ctx, std, args[1:])
	case benchFarEnd:
		return runFarEnd(ctx, std)
	case "pages":
		return benchPages(ctx, std, args[1:])
	case "stat":
		return benchStat(ctx, std, args[1:])
	case "setup":
		return benchSetup(ctx, std, args[1:])
	default:
		return errUsage
	}
}

// spread are sorted durations of which quantiles are wanted.
type spread []time.Duration

func (s spread) at(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	slices.Sort(s)
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

func (s spread) String() string {
	return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms, worst %.2f ms", ms(s.at(0.5)), ms(s.at(0.99)), ms(s.at(1)))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
