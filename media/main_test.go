package media

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if role := os.Getenv("WAIHU_MEDIA_TEST_ROLE"); role != "" {
		helper(role)
		return
	}
	goleak.VerifyTestMain(m)
}

var loopback = netip.MustParseAddr("127.0.0.1")

// testEngine makes an engine on its own part of the ports below the kernel's range; it does not run yet.
func testEngine(t testing.TB, cfg Config) *Engine {
	t.Helper()
	if cfg.PortLow == 0 {
		cfg.PortLow = 10000 + 100*rand.IntN(200)
		cfg.PortHigh = cfg.PortLow + 199
	}
	if cfg.Quarantine == 0 {
		cfg.Quarantine = -1
	}
	cfg.Bind, cfg.Log = loopback, slog.New(clockLog{})
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// rangesGiven counts the ranges of freeRange, so that no two tests get the same.
var rangesGiven atomic.Int32

// freeRange begins n ports, at an even one, that nobody has. They lie above those of testEngine and below the kernel's own.
func freeRange(t testing.TB, n int) int {
	t.Helper()
	for range 1000 {
		low := 30500 + (os.Getpid()+int(rangesGiven.Add(1)))%200*10
		free := true
		for port := low; port < low+n; port++ {
			c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
			if err != nil {
				free = false
				break
			}
			c.Close()
		}
		if free {
			return low
		}
	}
	t.Fatal("no range of ports is free")
	return 0
}

// runEngine makes an engine that runs until the test ends.
func runEngine(t testing.TB) *Engine {
	t.Helper()
	e := testEngine(t, Config{Threads: 1})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return e
}

func open(t testing.TB, e *Engine, cfg SessionConfig) *Session {
	t.Helper()
	cfg.Local = loopback
	s, err := e.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// farEnd is the other side, with its own RTP implementation.
type farEnd struct {
	t        testing.TB
	rtp      *net.UDPConn
	rtcp     *net.UDPConn
	to       *net.UDPAddr
	seq      uint16
	ts, ssrc uint32
}

func newFarEnd(t testing.TB, s *Session) *farEnd {
	t.Helper()
	f := &farEnd{t: t, seq: uint16(rand.Uint32()), ts: rand.Uint32(), ssrc: rand.Uint32()}
	f.rtp, f.rtcp = listen(t), listen(t)
	f.to = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: s.Port()}
	return f
}

func listen(t testing.TB) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func portOf(c *net.UDPConn) int { return c.LocalAddr().(*net.UDPAddr).Port }

// sdp is the far end's answer; extra lines go at its end.
func (f *farEnd) sdp(formats string, extra ...string) []byte {
	return fmt.Appendf(nil, "v=0\r\no=x 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP %s\r\na=rtcp:%d\r\n%s",
		portOf(f.rtp), formats, portOf(f.rtcp), strings.Join(append(extra, ""), "\r\n"))
}

const (
	bothLaws = "8 0 101"
	events   = "a=rtpmap:101 telephone-event/8000"
)

func (f *farEnd) answer(s *Session) {
	f.t.Helper()
	if err := s.Remote(f.sdp(bothLaws, events)); err != nil {
		f.t.Fatal(err)
	}
}

// packet is the next one of the stream.
func (f *farEnd) packet(pt uint8, payload []byte, samples uint32) []byte {
	f.t.Helper()
	p := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: pt, SequenceNumber: f.seq, Timestamp: f.ts, SSRC: f.ssrc}, Payload: payload}
	f.seq++
	f.ts += samples
	b, err := p.Marshal()
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

func (f *farEnd) send(b []byte) {
	f.t.Helper()
	if _, err := f.rtp.WriteToUDP(b, f.to); err != nil {
		f.t.Fatal(err)
	}
}

// receive is the next packet, within a minute.
func (f *farEnd) receive() *rtp.Packet {
	f.t.Helper()
	p := f.tryReceive(time.Minute)
	if p == nil {
		f.t.Fatal("no packet within a minute")
	}
	return p
}

func (f *farEnd) tryReceive(wait time.Duration) *rtp.Packet {
	f.t.Helper()
	b := make([]byte, 2000)
	f.rtp.SetReadDeadline(time.Now().Add(wait))
	n, err := f.rtp.Read(b)
	if err != nil {
		return nil
	}
	p := &rtp.Packet{}
	if err := p.Unmarshal(b[:n]); err != nil {
		f.t.Fatalf("not RTP: %v", err)
	}
	return p
}

// from is the far end's address as a source.
func (f *farEnd) from() netip.AddrPort { return f.rtp.LocalAddr().(*net.UDPAddr).AddrPort() }

// driven is a session whose clock is turned by hand: time is what the test says, packets come by
// deliver, only what the session sends goes through a real socket.
type driven struct {
	*Session
	t   testing.TB
	c   *clock
	far *farEnd
}

func drive(t testing.TB, cfg SessionConfig) *driven {
	t.Helper()
	e := testEngine(t, Config{Threads: 1})
	s := open(t, e, cfg)
	d := &driven{Session: s, t: t, c: e.clocks[0], far: newFarEnd(t, s)}
	d.c.slot = 1000 * int64(slots)
	return d
}

// now is the time of the last tick.
func (d *driven) now() int64 {
	if d.joined {
		return d.last * int64(slotLength)
	}
	return d.c.slot * int64(slotLength)
}

// tick runs n frames.
func (d *driven) tick(n int) {
	for range n * slots {
		if d.c.dirty.Load() {
			d.c.takeOrders()
		}
		d.c.slot++
		d.c.work()
	}
}

// deliver hands a packet to the session as if it came at so long after the last slot.
func (d *driven) deliver(b []byte, after time.Duration) {
	d.packet(d.c, b, d.far.from(), d.now()+int64(after))
}

// ear is an App that keeps what it was given and says what it is told.
type ear struct {
	mu     sync.Mutex
	heard  []int16
	lost   []bool
	digits []byte
	times  []time.Duration
	held   bool
	say    func(f *Frame) bool
}

func (e *ear) Frame(f *Frame) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, f.In...)
	e.lost = append(e.lost, f.Lost)
	e.times = append(e.times, f.Time)
	e.held = f.Held
	if f.Digit != 0 {
		e.digits = append(e.digits, f.Digit)
	}
	return e.say != nil && e.say(f)
}

func (e *ear) frames() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.lost)
}

func (e *ear) pressed() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return string(e.digits)
}

// until polls a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}
