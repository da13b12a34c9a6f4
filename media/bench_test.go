package media

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// farProcess starts a far end in a process of its own.
func farProcess(t testing.TB, cpu int) *BenchPeer {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "WAIHU_MEDIA_TEST_ROLE=far", "WAIHU_MEDIA_TEST_CPU="+strconv.Itoa(cpu))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	p, err := NewBenchPeer(in, out)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func farHelper() {
	if cpu, err := strconv.Atoi(os.Getenv("WAIHU_MEDIA_TEST_CPU")); err == nil && cpu >= 0 {
		if err := BenchPin(cpu); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if err := BenchFarEnd(context.Background(), loopback, -1, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// The measurement itself works: a few calls of each model, metered in another process.
func TestMeasurement(t *testing.T) {
	t.Parallel()
	far := farProcess(t, -1)
	for _, model := range []BenchModel{BenchEngine, BenchTicker} {
		outer := t
		steady(t, func(t tell) {
			r, err := BenchMedia(outer.Context(), BenchConfig{Calls: 4, Call: time.Second, Duration: time.Second, Model: model, Folder: outer.TempDir(), PortLow: 29000, PortHigh: 29099}, far)
			if err != nil {
				outer.Fatal(err)
			}
			if r.Meter.Packets < 100 || r.Meter.Packets > 250 || r.CPUSeconds <= 0 || r.Meter.All.Max == 0 || r.Received == 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}
