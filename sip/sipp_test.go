package sip

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	gosip "github.com/emiago/sipgo/sip"

	"waihu"
)

// startSipp runs sipp as the far end for n calls; the returned function waits for it and gives its exit code.
func startSipp(t testing.TB, scenario string, n int) (addr string, wait func() (int, string)) {
	t.Helper()
	bin, err := exec.LookPath("sipp")
	if err != nil {
		if os.Getenv("WAIHU_TEST_REQUIRE") != "" {
			t.Fatal("sipp is not installed (Debian package sip-tester)")
		}
		t.Skip("sipp is not installed (Debian package sip-tester)")
	}
	if scenario, err = filepath.Abs(filepath.Join("testdata", scenario)); err != nil {
		t.Fatal(err)
	}
	for range 5 { // somebody else may take the port before sipp does
		if addr, wait, err = tryUntilItListens(t, bin, scenario, n); err == nil {
			return addr, wait
		}
	}
	t.Fatal(err)
	return "", nil
}

// tryUntilItListens starts sipp on a port that was free; an error says that it ended before it listened.
func tryUntilItListens(t testing.TB, bin, scenario string, n int) (addr string, wait func() (int, string), err error) {
	t.Helper()
	probe, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	addr = probe.LocalAddr().String()
	port := probe.LocalAddr().(*net.UDPAddr).Port
	probe.Close()
	var out bytes.Buffer
	cmd := exec.Command(bin, "-sf", scenario, "-i", "127.0.0.1", "-p", strconv.Itoa(port), "-m", strconv.Itoa(n), "-nostdin", "-timeout", "50s", "-timeout_error", "-trace_err", "-buff_size", "4194304")
	cmd.Dir = t.TempDir()
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() { cmd.Process.Kill() })
	deadline := time.Now().Add(patient)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !bound(t, port) {
		select {
		case err := <-done:
			return "", nil, fmt.Errorf("sipp ended before it listened: %v\n%s", err, out.String())
		case <-tick.C:
		}
		if time.Now().After(deadline) {
			t.Fatal("sipp does not listen")
		}
	}
	return addr, func() (int, string) {
		select {
		case <-done:
			logs, _ := filepath.Glob(filepath.Join(cmd.Dir, "*errors.log"))
			for _, l := range logs {
				b, _ := os.ReadFile(l)
				out.Write(b)
			}
			return cmd.ProcessState.ExitCode(), out.String()
		case <-time.After(patient):
			return -1, out.String()
		}
	}, nil
}

// bound says whether somebody has a UDP port of IPv4, by the kernel's own list: to try the port would take it from who is about to.
func bound(t testing.TB, port int) bool {
	list, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(list, fmt.Appendf(nil, ":%04X ", port))
}

// sippRings leaves a starved sipp the time to have sent its 180 well before the CANCEL: one that comes
// while it is still sending is unexpected to it.
const sippRings = 3 * time.Second

// Against sipp, by its own judgement: it exits with 0 only when every call went through its scenario. A request that is
// repeated while sipp is still at work on the first is unexpected to it, so here T1 is longer than a machine stands still;
// since the timers belong to the process, no other test runs beside this one.
func TestSipp(t *testing.T) {
	gosip.SetTimers(5*time.Second, 10*time.Second, 10*time.Second)
	t.Cleanup(fastClock)
	const calls = 20
	for _, c := range []struct {
		scenario string
		want     waihu.Disposition // NoOutcome: answered
		crossed  bool
	}{
		{"answer.xml", waihu.NoOutcome, false},
		{"busy.xml", waihu.Busy, false},
		{"noanswer.xml", waihu.NoAnswer, false},
		{"late.xml", waihu.NoAnswer, true},
	} {
		t.Run(c.scenario, func(t *testing.T) {
			t.Parallel()
			addr, wait := startSipp(t, c.scenario, calls)
			e := startEndpoint(t, nil)
			p := mustPeer(t, waihu.Trunk{URI: "sip:" + addr})
			var wg sync.WaitGroup
			for range calls {
				ch := dial(context.Background(), e, Invite{Peer: p, RingTimeout: sippRings})
				wg.Go(func() {
					r := <-ch
					if r.err == nil {
						if err := r.d.Bye(context.Background(), HangUp{By: waihu.ByAgent}); err != nil || r.d.End().Status != 200 {
							t.Errorf("Bye: %v, %+v", err, r.d.End())
						}
						if c.want != waihu.NoOutcome {
							t.Error("answered")
						}
						return
					}
					f, ok := r.err.(*Failure)
					if !ok || f.Disposition != c.want || f.Crossed != c.crossed {
						t.Errorf("%v", r.err)
					}
				})
			}
			wg.Wait()
			if code, out := wait(); code != 0 {
				t.Errorf("sipp: exit %d\n%s", code, out)
			}
		})
	}
}

// BenchmarkSetup is INVITE, 180, 200, ACK, BYE, 200 against sipp, 20 calls in flight; cpu-us/call is
// this process alone.
func BenchmarkSetup(b *testing.B) {
	addr, _ := startSipp(b, "answer.xml", 1<<30)
	e, stop := openEndpoint(b, func(o *Options) { o.Journal = filepath.Join(b.TempDir(), "journal") })
	defer stop()
	p := mustPeer(b, waihu.Trunk{URI: "sip:" + addr})
	b.ReportAllocs()
	before := cpuTime(b)
	b.ResetTimer()
	calls := make(chan waihu.CallID)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for id := range calls {
				d, err := e.Invite(context.Background(), Invite{Call: id, Peer: p, Callee: "13800138000", Caller: "01088886666", SDP: []byte(ourSDP)})
				if err != nil {
					b.Error(err)
					continue
				}
				_ = d.Bye(context.Background(), HangUp{By: waihu.ByAgent})
			}
		})
	}
	for range b.N {
		calls <- newCallID()
	}
	close(calls)
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-us/call")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
