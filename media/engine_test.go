package media

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"waihu/audio"
)

func TestRangesThatCannotWork(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		low, high, calls int
		ok               bool
	}{
		"usual": {20000, 29999, 5000, true}, "too small": {20000, 20019, 11, false}, "just enough": {20000, 20019, 10, true}, "odd beginning": {20001, 20020, 10, false},
		"into the kernel's": {30000, 33000, 1, false}, "within the kernel's": {40000, 41000, 1, false}, "around the kernel's": {20000, 65535, 1, false}, "above the kernel's": {61000, 65000, 100, true},
		"upside down": {3000, 2000, 0, false}, "privileged": {1000, 2000, 0, false}, "beyond": {65000, 70000, 0, false}, "one port": {20001, 20002, 0, false},
	} {
		if err := checkRange(c.low, c.high, c.calls, 32768, 60999); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Config{PortLow: 20000, PortHigh: 20001, Calls: 2}); err == nil {
		t.Error("New takes a range that is too small")
	}
}

func TestPortsRest(t *testing.T) {
	t.Parallel()
	p := newPorts(20000, 20005, 10*time.Second)
	now := time.Unix(1000, 0)
	seen := map[int]bool{}
	for range 3 {
		port, ok := p.take(now)
		if !ok || port%2 != 0 || seen[port] {
			t.Fatalf("port %d, %v", port, ok)
		}
		seen[port] = true
	}
	if _, ok := p.take(now); ok {
		t.Error("a fourth pair of three")
	}
	p.give(20002, now)
	p.give(20000, now.Add(time.Second))
	if n := p.free(now.Add(10 * time.Second)); n != 1 {
		t.Errorf("%d pairs are free", n)
	}
	if _, ok := p.take(now.Add(9999 * time.Millisecond)); ok {
		t.Error("a pair that still rests is given")
	}
	if port, ok := p.take(now.Add(10 * time.Second)); !ok || port != 20002 {
		t.Errorf("port %d, %v", port, ok)
	}
	if n := p.free(now.Add(20 * time.Second)); n != 1 {
		t.Errorf("%d pairs are free", n)
	}
}

func TestPortsComeBackFromEveryState(t *testing.T) {
	t.Parallel()
	e := runEngine(t)
	total := e.Free()
	fds := openFiles(t)
	far := newFarEnd(t, &Session{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 1250 {
				s, err := e.Open(SessionConfig{Local: loopback})
				if err != nil {
					t.Error(err)
					return
				}
				switch (i + g) % 8 {
				case 0:
				case 1:
					s.Offer()
					if err := s.Remote([]byte("v=0\r\nm=audio 0 RTP/AVP 8\r\n")); !errors.Is(err, ErrRefused) {
						t.Error(err)
					}
				case 2:
					if err := s.Remote(far.sdp("8")); err != nil {
						t.Error(err)
					}
				case 3:
					if err := s.Remote(far.sdp("8")); err != nil {
						t.Error(err)
					}
					s.Start()
				case 4:
					s.Start()
				}
				s.Close()
				s.Close()
			}
		})
	}
	wg.Wait()
	if n := e.Free(); n != total {
		t.Errorf("%d pairs of %d came back", n, total)
	}
	until(t, "files are closed", func() bool { return openFiles(t) <= fds+40 }) // other tests run beside
}

func openFiles(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

func TestNoPorts(t *testing.T) {
	t.Parallel()
	var e *Engine
	var a *Session
	for a == nil { // until nobody else has one of the ports
		low := freeRange(t, 4)
		e = testEngine(t, Config{PortLow: low, PortHigh: low + 3, Quarantine: time.Hour})
		first, err1 := e.Open(SessionConfig{Local: loopback})
		second, err2 := e.Open(SessionConfig{Local: loopback})
		for _, s := range []*Session{first, second} {
			if s != nil {
				t.Cleanup(func() { s.Close() })
			}
		}
		if err1 == nil && err2 == nil {
			a = first
		}
	}
	if _, err := e.Open(SessionConfig{Local: loopback}); !errors.Is(err, ErrNoPorts) {
		t.Errorf("a third session of two pairs: %v", err)
	}
	a.Close()
	if _, err := e.Open(SessionConfig{Local: loopback}); !errors.Is(err, ErrNoPorts) {
		t.Errorf("a pair that rests: %v", err)
	}
}

// Ports that another program holds are passed over, and do not leak.
func TestTakenPorts(t *testing.T) {
	t.Parallel()
	low := freeRange(t, 8)
	e := testEngine(t, Config{PortLow: low, PortHigh: low + 7})
	for _, port := range []int{low, low + 3} {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for range 2 {
		open(t, e, SessionConfig{})
	}
	if _, err := e.Open(SessionConfig{Local: loopback}); !errors.Is(err, ErrNoPorts) {
		t.Errorf("a third pair: %v", err)
	}
	if n := e.Free(); n != 2 {
		t.Errorf("%d pairs are left, want the two that are taken by others", n)
	}
}

func TestOpenRefusesNonsense(t *testing.T) {
	t.Parallel()
	e := testEngine(t, Config{})
	free := e.Free()
	for name, c := range map[string]SessionConfig{
		"no address": {}, "any address": {Local: netip.IPv4Unspecified()}, "codec": {Local: loopback, Codecs: []string{"opus"}},
		"ptime": {Local: loopback, Ptime: 25 * time.Millisecond}, "family": {Local: netip.MustParseAddr("2001:db8::1")},
	} {
		if _, err := e.Open(c); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	if n := e.Free(); n != free {
		t.Errorf("%d pairs of %d are left", n, free)
	}
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	six := netip.MustParseAddr("::1")
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	defer c.Close()
	e := runEngine(t)
	s, err := e.Open(SessionConfig{Local: six, Bind: six})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Remote([]byte("v=0\r\nc=IN IP6 ::1\r\nm=audio " + itoa5(portOf(c)) + " RTP/AVP 8\r\n")); err != nil {
		t.Fatal(err)
	}
	s.Start()
	b := make([]byte, 2000)
	c.SetReadDeadline(time.Now().Add(time.Minute))
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil || n != 172 || int(from.Port()) != s.Port() {
		t.Fatalf("%d bytes from %v: %v", n, from, err)
	}
	h := header{pt: 8, seq: 1, ssrc: 5}
	h.put(b)
	for range 3 {
		if _, err := c.WriteToUDPAddrPort(b[:172], from); err != nil {
			t.Fatal(err)
		}
		h.seq++
		h.ts += 160
		h.put(b)
	}
	for c.SetReadDeadline(time.Now().Add(time.Millisecond)); err == nil; { // what left before ours arrived
		_, err = c.Read(b)
	}
	c.SetReadDeadline(time.Now().Add(time.Minute))
	for range 5 {
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Close(); st.Received != 3 || st.Foreign != 0 {
		t.Errorf("%+v", st)
	}
}

func itoa5(n int) string {
	var b [5]byte
	for i := 4; i >= 0; i-- {
		b[i], n = byte('0'+n%10), n/10
	}
	return string(b[:])
}

// A packet in, a frame through the App, a packet out: nothing is allocated.
func TestPacketAllocatesNothing(t *testing.T) {
	d := drive(t, SessionConfig{Recording: t.TempDir() + "/call.wav", App: &loop{}})
	d.far.answer(d.Session)
	d.Start()
	d.tick(2)
	packets := make([][]byte, 400)
	for i := range packets {
		packets[i] = d.far.packet(8, ramp(i), 160)
	}
	to := netip.AddrPortFrom(loopback, uint16(d.Port()))
	i := 0
	n := testing.AllocsPerRun(300, func() {
		if _, err := d.far.rtp.WriteToUDPAddrPort(packets[i], to); err != nil {
			t.Error(err)
		}
		i++
		d.tick(1)
	})
	if n != 0 {
		t.Errorf("%g allocations a packet", n)
	}
	if st := d.Close(); st.Received < 300 || st.Sent < 300 {
		t.Errorf("%+v", st)
	}
}

// loop is an App that repeats what it hears.
type loop struct{}

func (*loop) Frame(f *Frame) bool {
	copy(f.Out, f.In)
	return true
}

func TestReports(t *testing.T) {
	t.Parallel()
	d := drive(t, SessionConfig{})
	d.far.answer(d.Session)
	d.Start()
	const seq = 65500
	d.far.seq = seq
	d.compound() // the first interval may be too short to have lost much
	compound := d.compound()
	first := d.far.receive()
	sr, ok := compound[0].(*rtcp.SenderReport)
	if !ok || len(compound) < 2 {
		t.Fatalf("the first report is %v", compound)
	}
	if sr.SSRC != first.SSRC || sr.OctetCount != sr.PacketCount*160 || sr.PacketCount < 100 || sr.PacketCount > 1000 {
		t.Errorf("%+v", sr)
	}
	name, ok := compound[1].(*rtcp.SourceDescription)
	if !ok || name.Chunks[0].Source != sr.SSRC || len(name.Chunks[0].Items[0].Text) != 16 {
		t.Errorf("%+v", compound[1])
	}
	// NTP and RTP time of the report must be the same moment as those of the packets
	at := time.Unix(int64(sr.NTPTime>>32)-ntpEpoch, int64(sr.NTPTime&0xFFFFFFFF*1e9>>32))
	began := base.Add(time.Duration(d.zero))
	if want := uint32(at.Sub(began).Milliseconds() * 8); sr.RTPTime-(first.Timestamp) > want+16 || sr.RTPTime-first.Timestamp < want-16 {
		t.Errorf("the report says +%d samples at +%v", sr.RTPTime-first.Timestamp, at.Sub(began))
	}
	rr := sr.Reports[0]
	if rr.SSRC != d.far.ssrc || rr.LastSequenceNumber < seq+100 || rr.FractionLost < 20 || rr.FractionLost > 31 {
		t.Errorf("%+v", rr)
	}
	if n := rr.LastSequenceNumber - seq + 1; rr.TotalLost < n/10-1 || rr.TotalLost > n/10+1 {
		t.Errorf("%d of %d are lost", rr.TotalLost, n)
	}

	// The far end reports: 250 ms later, having held our report for 150.
	sr = d.compound()[0].(*rtcp.SenderReport)
	report, err := (&rtcp.ReceiverReport{SSRC: d.far.ssrc, Reports: []rtcp.ReceptionReport{{SSRC: sr.SSRC, FractionLost: 64, LastSenderReport: uint32(sr.NTPTime >> 16), Delay: 65536 * 15 / 100}}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	sent := time.Unix(int64(sr.NTPTime>>32)-ntpEpoch, int64(sr.NTPTime&0xFFFFFFFF*1e9>>32)).Sub(base)
	d.control(report, d.far.rtcp.LocalAddr().(*net.UDPAddr).AddrPort(), int64(sent+250*time.Millisecond))
	// and a sender report, which our next one must refer to
	own, err := (&rtcp.SenderReport{SSRC: d.far.ssrc, NTPTime: 0x1122334455667788}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	d.control(own, d.far.rtcp.LocalAddr().(*net.UDPAddr).AddrPort(), d.now())
	st0 := d.stats
	d.control([]byte("nonsense"), d.far.rtcp.LocalAddr().(*net.UDPAddr).AddrPort(), d.now())
	if d.stats.Unknown != st0.Unknown+1 {
		t.Error("nonsense is not counted")
	}
	last := d.compound()[0].(*rtcp.SenderReport).Reports[0]
	if last.LastSenderReport != 0x33445566 || last.Delay == 0 || last.Delay > 8*65536 {
		t.Errorf("%+v", last)
	}
	st := d.Close()
	if st.RTT < 99*time.Millisecond || st.RTT > 101*time.Millisecond || st.RemoteLost != 0.25 {
		t.Errorf("round trip %v, remote loss %v", st.RTT, st.RemoteLost)
	}
	if st.RFactor <= 20 || st.RFactor > 60 { // a tenth is lost
		t.Errorf("R is %.1f", st.RFactor)
	}
	bye := d.read()
	if _, ok := bye[len(bye)-1].(*rtcp.Goodbye); !ok {
		t.Errorf("the end is %v", bye)
	}
}

// compound turns the clock until the next report, while the far end sends and a tenth is lost.
func (d *driven) compound() []rtcp.Packet {
	d.t.Helper()
	b := make([]byte, 2000)
	for { // older reports
		d.far.rtcp.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := d.far.rtcp.Read(b); err != nil {
			break
		}
	}
	if d.ctl.next == 0 {
		d.tick(1)
	}
	next := d.ctl.next
	for i := range 500 {
		d.tick(1)
		p := d.far.packet(8, ramp(i), 160)
		if d.far.seq%10 != 9 { // one in ten is lost
			d.deliver(p, 0)
		}
		if d.ctl.next != next {
			return d.read()
		}
	}
	d.t.Fatal("no report in ten seconds")
	return nil
}

func (d *driven) read() []rtcp.Packet {
	d.t.Helper()
	b := make([]byte, 2000)
	d.far.rtcp.SetReadDeadline(time.Now().Add(time.Minute))
	n, err := d.far.rtcp.Read(b)
	if err != nil {
		d.t.Fatal(err)
	}
	ps, err := rtcp.Unmarshal(b[:n])
	if err != nil {
		d.t.Fatal(err)
	}
	return ps
}

// Run may end before the sessions do.
func TestSessionsOutliveTheEngine(t *testing.T) {
	t.Parallel()
	e := testEngine(t, Config{Threads: 2})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.Run(ctx)
	}()
	path := t.TempDir() + "/call.wav"
	var ss []*Session
	for i := range 6 {
		cfg := SessionConfig{App: &loop{}}
		if i == 0 {
			cfg.Recording = path
		}
		s := open(t, e, cfg)
		far := newFarEnd(t, s)
		far.answer(s)
		s.Start()
		far.receive()
		ss = append(ss, s)
	}
	cancel()
	<-ended
	for _, s := range ss {
		if st := s.Close(); st.Sent == 0 {
			t.Errorf("%+v", st)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := audio.ReadWAV(b); err != nil {
		t.Error(err)
	}
	if n, total := e.Free(), 100; n != total {
		t.Errorf("%d pairs of %d are free", n, total)
	}
}

// A clock without a call does nothing at all.
func TestClockParks(t *testing.T) {
	t.Parallel()
	e := runEngine(t)
	s := open(t, e, SessionConfig{})
	far := newFarEnd(t, s)
	far.answer(s)
	s.Start()
	far.receive()
	s.Close()
	c := e.clocks[0]
	until(t, "the clock is empty", func() bool { return c.calls.Load() == 0 })
	again := open(t, e, SessionConfig{})
	far = newFarEnd(t, again)
	far.answer(again)
	again.Start()
	far.receive()
}
