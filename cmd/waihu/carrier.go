package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"waihu/carrier"
)

// runCarrier serves the simulated carrier until the first signal, then says what it has seen.
func runCarrier(ctx context.Context, io stdio, args []string) error {
	fs := newFlags("carrier")
	addr := fs.String("sip", "127.0.0.1:5080", "`address` of SIP over UDP and TCP")
	seed := fs.Uint64("seed", 1, "the same seed gives the same callees")
	level := fs.String("log-level", "info", "`level` of the log on stderr: debug, info, warn or error")
	if _, err := parseWords(io, fs, args, 0, 0); err != nil {
		return err
	}
	if _, ok := logLevels[*level]; !ok {
		return fmt.Errorf("--log-level %q: debug, info, warn or error was expected", *level)
	}
	c, err := carrier.New(carrier.Options{Listen: *addr, Seed: *seed, Log: newLog(io.err, *level)})
	if err != nil {
		return err
	}
	fmt.Fprintf(io.out, "the simulated carrier answers on %s; the last two digits of a number choose the callee\n", c.Addr())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- c.Run(ctx) }()
	select {
	case err = <-stopped:
	case <-io.signals:
		cancel()
		err = <-stopped
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	calls, findings := c.Calls(), c.Findings()
	fmt.Fprintf(io.out, "%d calls, at most %d at once, %d findings (%s)\n", len(calls), c.Peak(), len(findings), time.Now().Format(time.TimeOnly))
	for _, f := range findings {
		fmt.Fprintln(io.out, " ", f)
	}
	if len(findings) > 0 {
		return fmt.Errorf("%d rules were broken by the callers", len(findings))
	}
	return nil
}
