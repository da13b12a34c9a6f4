package media

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	meterWindow = 500 * time.Millisecond
	meterSteal  = 10 * time.Millisecond
	meterGrain  = 10 * time.Microsecond
	meterRange  = 100 * time.Millisecond
	farBatch    = 64
)

// histogram counts deviations in steps of 10 us up to 100 ms.
type histogram struct {
	n   [meterRange / meterGrain]uint32
	sum uint64
	max int64
}

func (h *histogram) add(d int64) {
	h.n[min(d/int64(meterGrain), int64(len(h.n)-1))]++
	h.sum++
	h.max = max(h.max, d)
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.n {
		h.n[i] += n
	}
	h.sum += o.sum
	h.max = max(h.max, o.max)
}

func (h *histogram) quantiles() Deviations {
	at := func(q float64) float64 {
		left := uint64(q * float64(h.sum))
		for i, n := range h.n {
			if uint64(n) > left {
				return float64(i+1) * meterGrain.Seconds() * 1000
			}
			left -= uint64(n)
		}
		return float64(h.max) / 1e6
	}
	return Deviations{at(0.5), at(0.99), at(0.999), float64(h.max) / 1e6}
}

// meter follows the streams by the sender's port.
type meter struct {
	mu      sync.Mutex
	on      bool
	report  MeterReport
	witness witness

	all, quiet, still histogram

	window     histogram
	windowEnds time.Time
	stolen     time.Duration
	streams    [1 << 16]stream
}

type stream struct {
	any  bool
	seq  uint16
	ssrc uint32
	ts   uint32
	at   int64
}

// BenchFarEnd is the other end of a measurement, to be run in a process of its own: one socket that sends every
// packet back to its sender and meters how evenly they come. It writes its address to out, then obeys "begin" and
// "end" from in, and ends with it. watch is the core of the measured process, on which a witness tells when the
// machine stood still; -1: none.
func BenchFarEnd(ctx context.Context, bind netip.Addr, watch int, in io.Reader, out io.Writer) error {
	fd, addr, err := farSocket(bind)
	if err != nil {
		return err
	}
	m := &meter{}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { m.echo(ctx, fd) })
	if watch >= 0 {
		wg.Go(func() { m.witness.run(ctx, watch) })
	}
	defer func() {
		cancel()
		wg.Wait()
		unix.Close(fd)
	}()
	if _, err := fmt.Fprintln(out, addr); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		switch lines.Text() {
		case "begin":
			m.begin()
		case "end":
			b, err := json.Marshal(m.end())
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(out, "%s\n", b); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

func farSocket(bind netip.Addr) (int, netip.AddrPort, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: bind.As4()}); err == nil {
		if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err == nil {
			// a wish: root may go beyond the limit, others get what the limit allows
			if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20) != nil {
				_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<20)
			}
			err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000})
		}
	}
	if err != nil {
		unix.Close(fd)
		return 0, netip.AddrPort{}, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		unix.Close(fd)
		return 0, netip.AddrPort{}, err
	}
	return fd, netip.AddrPortFrom(bind, uint16(name.(*unix.SockaddrInet4).Port)), nil
}

// echo reads in batches and sends the same packets back in one call.
func (m *meter) echo(ctx context.Context, fd int) {
	var (
		msgs    [farBatch]mmsghdr
		iov     [farBatch]unix.Iovec
		from    [farBatch]unix.RawSockaddrInet4
		control [farBatch][64]byte
		data    [farBatch][rtpMTU]byte
	)
	for ctx.Err() == nil {
		for i := range msgs {
			iov[i].Base = &data[i][0]
			iov[i].SetLen(rtpMTU)
			h := &msgs[i].hdr
			h.Name, h.Namelen = (*byte)(unsafe.Pointer(&from[i])), unix.SizeofSockaddrInet4
			h.Iov = &iov[i]
			h.SetIovlen(1)
			h.Control = &control[i][0]
			h.SetControllen(len(control[i]))
		}
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), farBatch, unix.MSG_WAITFORONE, 0, 0)
		if errno != 0 {
			continue // the time limit, at which ctx is looked at
		}
		m.mu.Lock()
		for i := range int(n) {
			var at int64
			if msgs[i].hdr.Controllen >= unix.SizeofCmsghdr {
				at = (*unix.Timespec)(unsafe.Pointer(&control[i][unix.CmsgLen(0)])).Nano()
			}
			m.see(data[i][:msgs[i].len], from[i].Port, at)
			iov[i].SetLen(int(msgs[i].len))
			msgs[i].hdr.Control = nil
			msgs[i].hdr.SetControllen(0)
		}
		m.mu.Unlock()
		for sent := 0; sent < int(n); {
			k, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[sent])), n-uintptr(sent), 0, 0, 0)
			if errno != 0 {
				k = 1 // a port that closed meanwhile
			}
			sent += int(k)
		}
	}
}

// see meters one packet.
func (m *meter) see(b []byte, port uint16, at int64) {
	h, _, ok := parseRTP(b)
	if !ok || isRTCP(b) {
		return
	}
	s := &m.streams[port]
	if m.on {
		m.turn(time.Now())
		m.report.Packets++
		if s.any && s.ssrc == h.ssrc && h.seq != s.seq {
			if step := int(int16(h.seq - s.seq)); step > 1 {
				m.report.Lost += uint64(step - 1)
			}
			d := at - s.at - int64(int32(h.ts-s.ts))*125000
			m.window.add(max(d, -d))
		}
	}
	*s = stream{true, h.seq, h.ssrc, h.ts, at}
}

// turn closes a window that is over.
func (m *meter) turn(now time.Time) {
	if now.Before(m.windowEnds) {
		return
	}
	stolen := stolenTime()
	if m.window.sum > 0 {
		m.report.Windows++
		m.all.merge(&m.window)
		if stolen-m.stolen <= meterSteal {
			m.report.QuietWindows++
			m.quiet.merge(&m.window)
		}
		if late, on := m.witness.take(); on && late <= witnessLate {
			m.report.StillWindows++
			m.still.merge(&m.window)
		}
	}
	m.window = histogram{}
	m.stolen, m.windowEnds = stolen, now.Add(meterWindow)
}

func (m *meter) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on, m.report, m.all, m.quiet, m.still, m.window = true, MeterReport{}, histogram{}, histogram{}, histogram{}, histogram{}
	m.witness.take()
	m.stolen, m.windowEnds = stolenTime(), time.Now().Add(meterWindow)
}

func (m *meter) end() MeterReport {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on = false
	m.report.All, m.report.Quiet, m.report.Still = m.all.quantiles(), m.quiet.quantiles(), m.still.quantiles()
	return m.report
}

// stolenTime is what the hypervisor gave to others, of all cores.
func stolenTime() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal
	if len(fields) < 9 {
		return 0
	}
	ticks, _ := strconv.ParseInt(fields[8], 10, 64)
	return time.Duration(ticks) * 10 * time.Millisecond
}
