package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"waihu/media"
)

// benchFarEnd is the argument by which the measuring process starts its far end: not a command for people.
const benchFarEnd = "far-end"

// benchMedia measures the packet path: calls that play ten seconds of G.711 and record both sides, this process on the
// first core, the far end and its meter in another process on the second, their session raised as a server's is. After a warm-up and a run that shows what memory
// a call takes it runs the engine against itself (what the machine alone makes of two equal runs), then the engine and a goroutine-and-ticker-per-call model in turn.
func benchMedia(ctx context.Context, std stdio, args []string) error {
	fs := flag.NewFlagSet("bench media", flag.ContinueOnError)
	fs.SetOutput(std.err)
	calls := fs.Int("calls", 800, "how many `calls` at once")
	tickers := fs.Int("ticker-calls", 0, "`calls` of the ticker model; 0: as many")
	seconds := fs.Int("seconds", 10, "`seconds` of each measurement")
	rounds := fs.Int("rounds", 3, "how many `times` the two are measured in turn")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *calls < 1 || *seconds < 1 || *rounds < 1 || *tickers < 0 {
		return errors.New("--calls, --seconds and --rounds want a positive number")
	}
	if *tickers == 0 {
		*tickers = *calls
	}
	far, stop, err := startFarEnd(ctx, std.err)
	if err != nil {
		return err
	}
	defer stop()
	defer media.RaiseSession()()
	if err := media.BenchPin(0); err != nil {
		return fmt.Errorf("keeping to one core: %w", err)
	}
	dir, err := os.MkdirTemp("", "waihu-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	measure := func(model media.BenchModel, n int, length time.Duration) (media.BenchResult, error) {
		return media.BenchMedia(ctx, media.BenchConfig{Calls: n, Duration: length, Model: model, Folder: dir, PortLow: 20000, PortHigh: 29999}, far)
	}
	one := func(model media.BenchModel, n int) (media.BenchResult, error) {
		r, err := measure(model, n, time.Duration(*seconds)*time.Second)
		if err == nil {
			printMedia(std.out, r)
		}
		return r, err
	}
	// A few calls first: the pages of the program itself come into memory and are no call's.
	if _, err := measure(media.BenchEngine, min(*calls, 20), time.Second); err != nil {
		return err
	}
	// Memory is what the first full run adds; it also pays for taking it, so it is no part of the control.
	if _, err = one(media.BenchEngine, *calls); err != nil {
		return err
	}
	var first, second media.BenchResult
	if first, err = one(media.BenchEngine, *calls); err != nil {
		return err
	}
	if second, err = one(media.BenchEngine, *calls); err != nil {
		return err
	}
	fmt.Fprintf(std.out, "control: engine against itself, CPU ratio %.2f (ratios below are void when it is outside 0.95-1.05)\n", second.PerMinute/first.PerMinute)
	var cpu, jitter []float64
	for range *rounds {
		e, err := one(media.BenchEngine, *calls)
		if err != nil {
			return err
		}
		t, err := one(media.BenchTicker, *tickers)
		if err != nil {
			return err
		}
		cpu = append(cpu, e.PerMinute/t.PerMinute)
		jitter = append(jitter, e.Meter.All.P99/t.Meter.All.P99)
	}
	fmt.Fprintf(std.out, "engine / ticker per call, by round: CPU %.2f, p99 deviation %.2f\n", cpu, jitter)
	return nil
}

func printMedia(out io.Writer, r media.BenchResult) {
	m := r.Meter
	quiet := "no quiet window"
	if m.QuietWindows > 0 {
		quiet = fmt.Sprintf("quiet p99 %.2f ms", m.Quiet.P99)
	}
	if m.StillWindows > 0 {
		quiet += fmt.Sprintf(", still p99 %.2f ms (%d)", m.Still.P99, m.StillWindows)
	}
	fmt.Fprintf(out, "%-6s %5d calls: %.3f CPU-s/call-minute, %3.0f %% of a core, %3d KB/call, sent lost %d skipped %d, back lost %d; deviation p50 %.2f p99 %.2f p99.9 %.2f ms, %s, %d quiet of %d windows\n",
		r.Model, r.Calls, r.PerMinute, 100*r.CoreShare, r.RSSPerCall>>10, m.Lost, r.Skipped, r.Lost, m.All.P50, m.All.P99, m.All.P999, quiet, m.QuietWindows, m.Windows)
}

// startFarEnd runs this program again as the far end.
func startFarEnd(ctx context.Context, stderr io.Writer) (*media.BenchPeer, func(), error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, self, "bench", benchFarEnd)
	cmd.Stderr = stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	stop := func() {
		in.Close()
		_ = cmd.Wait()
	}
	far, err := media.NewBenchPeer(in, out)
	if err != nil {
		stop()
		return nil, nil, fmt.Errorf("starting the far end: %w", err)
	}
	return far, stop, nil
}

// runFarEnd keeps to the second core, where there is one.
func runFarEnd(ctx context.Context, std stdio) error {
	_ = media.BenchPin(1) // one core: both share it
	return media.BenchFarEnd(ctx, netip.MustParseAddr("127.0.0.1"), 0, std.in, std.out)
}
