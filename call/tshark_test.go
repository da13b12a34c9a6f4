package call_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"waihu"
	"waihu/carrier"
	"waihu/media"
)

// capture records the RTP ports of a rig on loopback and returns what ends it.
func capture(t *testing.T, low, high int, file string) func() {
	t.Helper()
	requirePeer(t, "tshark")
	cmd := exec.Command("tshark", "-i", "lo", "-f", fmt.Sprintf("udp portrange %d-%d", low, high), "-w", file)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	go func() {
		defer close(said)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if strings.Contains(lines.Text(), "Capturing on") || strings.Contains(lines.Text(), "permission") {
				said <- lines.Text()
				for lines.Scan() { // or it blocks
				}
			}
		}
	}()
	line, timeout := "", time.NewTimer(time.Minute)
	defer timeout.Stop()
	select {
	case line = <-said:
	case <-timeout.C:
	}
	stop := sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
		<-said
	})
	t.Cleanup(stop)
	if !strings.Contains(line, "Capturing on") {
		stop()
		if os.Getenv("WAIHU_TEST_REQUIRE") != "" {
			t.Fatalf("tshark may not capture on loopback here: %s", line)
		}
		t.Skip("tshark may not capture on loopback here")
	}
	return stop
}

// stream is one row of tshark -z rtp,streams.
type stream struct {
	from, packets, lost int
	jitter              float64 // mean, ms
}

func streams(t *testing.T, file string) (out []stream) {
	t.Helper()
	text, err := exec.Command("tshark", "-r", file, "-o", "rtp.heuristic_rtp:TRUE", "-q", "-z", "rtp,streams").Output()
	if err != nil {
		t.Fatal(err)
	}
	number := func(s string) float64 {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatalf("tshark's table: %v", err)
		}
		return f
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 17 || !strings.HasPrefix(f[6], "0x") {
			continue
		}
		n := len(f)
		if f[n-1] == "X" {
			n--
		}
		out = append(out, stream{from: int(number(f[3])), packets: int(number(f[n-9])), lost: int(number(f[n-8])), jitter: number(f[n-2])})
	}
	return out
}

// tsharkLow begins a range that no other test takes RTP ports from: what is captured there is ours.
const tsharkLow = 32200

// TestTsharkJudgesOurRTP: an independent judge sees every packet of ours in order, at its time.
func TestTsharkJudgesOurRTP(t *testing.T) {
	t.Parallel()
	requirePeer(t, "tshark")
	c := startCarrier(t, nil)
	low, high := 0, 0
	r := newRig(t, func(m *media.Config) {
		m.PortLow, m.PortHigh = tsharkLow, tsharkLow+399
		low, high = m.PortLow, m.PortHigh
	})
	spec, outer := agentOf(t, surveyAgent), t
	steady(t, c, func(t tell) {
		file := filepath.Join(outer.TempDir(), "rtp.pcap")
		stop := capture(outer, low, high, file)
		var calls sync.WaitGroup
		for _, phone := range []waihu.PhoneNumber{"+99900000313", "+99900000350", "+99900000383", "+99900000363"} {
			calls.Go(func() {
				if o := r.dial(outer.Context(), simTrunk(c), phone, spec, nil); o.Disposition != waihu.Answered {
					t.Errorf("%s: %s", carrier.ScriptFor(phone).Name, o.Disposition)
				}
			})
		}
		calls.Wait()
		stop()
		ours := 0
		for _, s := range streams(outer, file) {
			if s.from < low || s.from > high || s.packets < 20 {
				continue
			}
			ours++
			if s.lost != 0 || s.jitter > 10 {
				t.Errorf("tshark finds %+v", s)
			}
		}
		if ours != 4 {
			t.Errorf("tshark found %d streams of ours, 4 were sent", ours)
		}
	})
}
