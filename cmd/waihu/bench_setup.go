package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"waihu"
	"waihu/media"
	"waihu/sip"
)

// benchSetup measures the CPU that one call set-up and hang-up costs this process: ports, SDP, INVITE, 180, 200, ACK,
// BYE, and the recording file when asked for. The far end is sipp in a process of its own.
func benchSetup(ctx context.Context, std stdio, args []string) error {
	fs := flag.NewFlagSet("bench setup", flag.ContinueOnError)
	fs.SetOutput(std.err)
	calls := fs.Int("calls", 2000, "how many `calls`")
	rate := fs.Int("rate", 300, "calls a `second`")
	record := fs.Bool("record", false, "also make a recording file for each call")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *calls < 1 || *rate < 1 {
		return errors.New("--calls and --rate want a positive number")
	}
	program, err := exec.LookPath("sipp")
	if err != nil {
		return errors.New("sipp is the far end of this measurement: install it (Debian package sip-tester)")
	}
	port, err := unusedUDP()
	if err != nil {
		return err
	}
	far := exec.CommandContext(ctx, program, "-sn", "uas", "-i", "127.0.0.1", "-p", strconv.Itoa(port), "-nostdin")
	far.Env = append(os.Environ(), "TERM=dumb")
	if err := far.Start(); err != nil {
		return err
	}
	defer func() {
		_ = far.Process.Kill()
		_ = far.Wait()
	}()
	dir, err := os.MkdirTemp("", "waihu-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	log := newLog(std.err, "error")
	loopback := netip.MustParseAddr("127.0.0.1")
	engine, err := media.New(media.Config{PortLow: 20000, PortHigh: 29999, Bind: loopback, Quarantine: time.Second})
	if err != nil {
		return err
	}
	ua, err := sip.New(sip.Options{Listen: []sip.ListenAddr{{Network: "udp", Addr: "127.0.0.1:0"}}, Log: log})
	if err != nil {
		return err
	}
	run, stop := context.WithCancel(ctx)
	var rooms sync.WaitGroup
	rooms.Go(func() { _ = engine.Run(run) })
	rooms.Go(func() { _ = ua.Run(run) })
	defer rooms.Wait()
	defer stop()
	peer, err := sip.NewPeer(waihu.Trunk{URI: "sip:127.0.0.1:" + strconv.Itoa(port)})
	if err != nil {
		return err
	}
	forget, err := ua.Allow(ctx, peer)
	if err != nil {
		return err
	}
	defer forget()
	var done sync.WaitGroup
	var mu sync.Mutex
	var failures []error
	one := func(n int) {
		recording := ""
		if *record {
			recording = filepath.Join(dir, strconv.Itoa(n)+".wav")
		}
		err := setUp(ctx, ua, engine, peer, loopback, waihu.NewCallID(0, 1, int64(n+1)), recording)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failures = append(failures, err)
		}
	}
	before, began := cpuTime(), time.Now()
	tick := time.NewTicker(time.Second / time.Duration(*rate))
	defer tick.Stop()
	for n := range *calls {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		done.Go(func() { one(n) })
	}
	done.Wait()
	used, took := cpuTime()-before, time.Since(began)
	fmt.Fprintf(std.out, "set-up: %d calls in %.1f s, %.2f ms CPU a call (whole process: ports, SDP, INVITE to ACK, BYE), %d failed\n",
		*calls, took.Seconds(), ms(used)/float64(*calls), len(failures))
	if len(failures) > 0 {
		return fmt.Errorf("the figure is void: %w", failures[0])
	}
	return nil
}

// setUp is one call that is hung up as soon as it stands.
func setUp(ctx context.Context, ua *sip.Endpoint, engine *media.Engine, peer *sip.Peer, local netip.Addr, id waihu.CallID, recording string) error {
	session, err := engine.Open(media.SessionConfig{Local: local, Recording: recording})
	if err != nil {
		return err
	}
	defer session.Close()
	dialog, err := ua.Invite(ctx, sip.Invite{Call: id, Peer: peer, Callee: "13800000000", SDP: session.Offer()})
	if err != nil {
		return err
	}
	if err := session.Remote(dialog.RemoteSDP()); err != nil {
		return err
	}
	session.Start()
	return dialog.Bye(ctx, sip.HangUp{By: waihu.BySystem})
}

// cpuTime is what this process has used so far, in user and kernel mode.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func unusedUDP() (int, error) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port, nil
}
