package media

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/netip"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"waihu/audio"
)

// BenchConfig is a measurement of the packet path: Calls calls at a time, each of which plays a prompt,
// records both sides and makes room for the next.
type BenchConfig struct {
	Calls    int
	Duration time.Duration // measured, after everything has begun
	Call     time.Duration // length of a call; 0: ten seconds
	Model    BenchModel
	Folder   string // for recordings
	PortLow  int
	PortHigh int
}

// BenchModel is what carries the calls.
type BenchModel string

const (
	// BenchEngine is this package's engine.
	BenchEngine BenchModel = "engine"
	// BenchTicker is the control: two goroutines and a ticker for each call over net.UDPConn, doing the same work.
	BenchTicker BenchModel = "ticker"
)

// BenchResult is what one measurement gave.
type BenchResult struct {
	Model       BenchModel
	Calls       int
	CallMinutes float64 // 3,000 packets that the far end received
	CPUSeconds  float64 // of this process, user and system
	PerMinute   float64 // CPUSeconds per call-minute
	CoreShare   float64 // of one core
	RSSPerCall  int64   // bytes
	Sent        uint64
	Received    uint64
	Lost        uint64 // on the way back, by sequence numbers
	Skipped     uint64 // frames that the engine never sent
	SendFails   uint64 // packets that our kernel refused
	Meter       MeterReport
}

// MeterReport is what a far end saw in its interval. Deviations are |arrival difference - timestamp
// difference| of consecutive packets of one stream by the kernel's receive time.
type MeterReport struct {
	Packets, Lost uint64
	All, Quiet    Deviations // Quiet: of windows in which the hypervisor took less than 10 ms
	Still         Deviations // of windows in which the machine let a sleeper of the real-time class on the same core wake within half a millisecond
	Windows       int        // of half a second
	QuietWindows  int
	StillWindows  int // 0 as well where the system does not let us use the real-time class
}

// Deviations are quantiles in milliseconds.
type Deviations struct{ P50, P99, P999, Max float64 }

// benchCall is the usual length of a call; benchSettle is left after the last has begun.
const (
	benchCall   = 10 * time.Second
	benchSettle = 2 * time.Second
)

// BenchMedia makes one measurement against the far end at far; meter begins and ends its interval.
func BenchMedia(ctx context.Context, cfg BenchConfig, far *BenchPeer) (BenchResult, error) {
	if cfg.Call == 0 {
		cfg.Call = benchCall
	}
	runtime.GC()
	before := residentBytes()
	load := newBenchLoad(cfg, far.Addr)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- load.run(ctx) }()
	if err := wait(ctx, cfg.Call+benchSettle, ended); err != nil {
		return BenchResult{}, err
	}
	if err := far.Begin(); err != nil {
		return BenchResult{}, err
	}
	cpu, at := cpuTime(), time.Now()
	if err := wait(ctx, cfg.Duration, ended); err != nil {
		return BenchResult{}, err
	}
	cpu, wall := cpuTime()-cpu, time.Since(at)
	report, err := far.End()
	if err != nil {
		return BenchResult{}, err
	}
	rss := residentBytes()
	cancel()
	if err := <-ended; err != nil {
		return BenchResult{}, err
	}
	r := BenchResult{Model: cfg.Model, Calls: cfg.Calls, CallMinutes: float64(report.Packets) / 3000, CPUSeconds: cpu.Seconds(),
		CoreShare: cpu.Seconds() / wall.Seconds(), RSSPerCall: (rss - before) / int64(cfg.Calls), Meter: report}
	r.PerMinute = r.CPUSeconds / max(r.CallMinutes, 1e-9)
	load.mu.Lock()
	defer load.mu.Unlock()
	r.Sent, r.Received, r.Lost, r.Skipped, r.SendFails = load.sum.Sent, load.sum.Received, load.sum.Lost, load.sum.Skipped, load.sum.SendFails
	return r, nil
}

func wait(ctx context.Context, d time.Duration, ended <-chan error) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case err := <-ended:
		return fmt.Errorf("the load ended too early: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// benchLoad keeps the calls going.
type benchLoad struct {
	cfg    BenchConfig
	far    netip.AddrPort
	prompt []int16
	answer []byte
	mu     sync.Mutex
	sum    Stats
	n      int
}

func newBenchLoad(cfg BenchConfig, far netip.AddrPort) *benchLoad {
	prompt := audio.Tone(int(cfg.Call/frameLength)*frameSamples, -20, 440)
	for i := range prompt { // something that varies
		prompt[i] = int16(float64(prompt[i]) * (0.6 + 0.4*math.Sin(float64(i)/900)))
	}
	return &benchLoad{cfg: cfg, far: far, prompt: prompt, answer: fmt.Appendf(nil,
		"v=0\r\no=- 1 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio %d RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n", far.Addr(), far.Addr(), far.Port())}
}

// run begins calls evenly over a call's length and begins each anew when it is over.
func (l *benchLoad) run(ctx context.Context) error {
	one, finish, err := l.model(ctx)
	if err != nil {
		return err
	}
	defer finish()
	var wg sync.WaitGroup
	failed := make(chan error, l.cfg.Calls)
	pace := time.NewTicker(l.cfg.Call / time.Duration(l.cfg.Calls))
	defer pace.Stop()
	for i := 0; i < l.cfg.Calls && ctx.Err() == nil; i++ {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := one(ctx); err != nil {
					failed <- err
					return
				}
			}
		})
		select {
		case <-pace.C:
		case <-ctx.Done():
		}
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// model is how one call is made, and what ends the whole.
func (l *benchLoad) model(ctx context.Context) (one func(context.Context) error, finish func(), err error) {
	if l.cfg.Model == BenchTicker {
		return l.tickerCall, func() {}, nil
	}
	e, err := New(Config{PortLow: l.cfg.PortLow, PortHigh: l.cfg.PortHigh, Calls: l.cfg.Calls, Threads: 1, Quarantine: -1, Bind: netip.AddrFrom4([4]byte{127, 0, 0, 1})})
	if err != nil {
		return nil, nil, err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.Run(run)
	}()
	return func(ctx context.Context) error { return l.engineCall(ctx, e) }, func() {
		cancel()
		<-ended
	}, nil
}

// file is a recording's path; names are used again so that the folder stays small.
func (l *benchLoad) file() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	return filepath.Join(l.cfg.Folder, strconv.Itoa(l.n%(2*l.cfg.Calls))+".wav")
}

func (l *benchLoad) engineCall(ctx context.Context, e *Engine) error {
	s, err := e.Open(SessionConfig{Local: e.cfg.Bind, Codecs: []string{"pcmu"}, Recording: l.file(), App: &player{pcm: l.prompt}})
	if err != nil {
		return err
	}
	s.Offer()
	if err := s.Remote(l.answer); err != nil {
		s.Close()
		return err
	}
	s.Start()
	t := time.NewTimer(l.cfg.Call)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case err = <-s.Done():
	}
	st := s.Close()
	if ctx.Err() == nil { // at the end all hang up at once, which is no part of the job
		l.add(st)
	}
	if err == nil {
		err = st.RecordingErr
	}
	return err
}

func (l *benchLoad) add(st Stats) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sum.Sent += st.Sent
	l.sum.Received += st.Received
	l.sum.Lost += st.Lost
	l.sum.Skipped += st.Skipped
	l.sum.SendFails += st.SendFails
}

// player plays a prompt from the beginning.
type player struct {
	pcm []int16
	at  int
}

func (p *player) Frame(f *Frame) bool {
	if p.at+len(f.Out) > len(p.pcm) {
		return false
	}
	copy(f.Out, p.pcm[p.at:])
	p.at += len(f.Out)
	return true
}

// BenchPeer is the far end as seen from the measuring process: it runs BenchFarEnd in a process of its own.
type BenchPeer struct {
	Addr netip.AddrPort
	in   io.Writer
	out  *bufio.Reader
}

// NewBenchPeer speaks with a process that runs BenchFarEnd on these pipes.
func NewBenchPeer(in io.Writer, out io.Reader) (*BenchPeer, error) {
	p := &BenchPeer{in: in, out: bufio.NewReader(out)}
	line, err := p.out.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("the far end did not say where it is: %w", err)
	}
	p.Addr, err = netip.ParseAddrPort(strings.TrimSpace(line))
	return p, err
}

// Begin starts the meter anew.
func (p *BenchPeer) Begin() error {
	_, err := io.WriteString(p.in, "begin\n")
	return err
}

// End is what the meter saw since Begin.
func (p *BenchPeer) End() (r MeterReport, err error) {
	if _, err = io.WriteString(p.in, "end\n"); err != nil {
		return r, err
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return r, fmt.Errorf("the far end did not report: %w", err)
	}
	return r, json.Unmarshal(line, &r)
}
