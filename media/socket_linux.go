package media

import (
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// monoZero is CLOCK_MONOTONIC at base. Go's monotonic time is the same clock.
var monoZero = func() int64 {
	var ts unix.Timespec
	since := mono()
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("media: no monotonic clock: " + err.Error()) // cannot happen on Linux
	}
	return ts.Nano() - since
}()

// sleepUntil sleeps to an absolute time since base. The thread leaves its P meanwhile.
func sleepUntil(at int64) {
	ts := unix.NsecToTimespec(monoZero + at)
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil) == unix.EINTR {
	}
}

// newSlab is memory outside the collected heap.
func newSlab(n int) []byte {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return make([]byte, n) // the heap says it better when memory is short
	}
	return b
}

const (
	// niceness of a clock's thread, where the system lets us: sound is worth more than anything else we do.
	niceness = -10
	// slice asks the scheduler (EEVDF since Linux 6.12) for little time at once, in return for which the
	// thread may interrupt those that run for longer when it wakes. Without it a wake-up may wait for
	// the running thread's slice, usually 3 ms.
	slice = 100 * time.Microsecond
)

// hurry asks for what makes the calling thread wake on time; all are wishes: the shorter slice, priority before
// other threads (it takes CAP_SYS_NICE), timers without the usual slack of 50 us. Real-time classes are
// not asked for: under SCHED_FIFO the Go runtime can spin for ever on a single core.
func hurry() {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Nice: niceness, Runtime: uint64(slice)}
	if unix.SchedSetAttr(0, &attr, 0) != nil {
		attr.Nice = 0
		_ = unix.SchedSetAttr(0, &attr, 0)
	}
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
}

// socket is a raw non-blocking UDP socket outside the runtime's poller: the packet clock reads
// it when the call's slot comes, so nothing wakes for a packet.
type socket struct {
	fd    int
	local netip.AddrPort
}

// openSocket binds a socket that stamps what it receives with the kernel's time.
func openSocket(at netip.AddrPort) (*socket, error) {
	family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(at.Port()), Addr: addr4(at.Addr())})
	if at.Addr().Is6() {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("RTP socket: %w", os.NewSyscallError("socket", err))
	}
	if err := unix.Bind(fd, sa); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("RTP socket on %s: %w", at, os.NewSyscallError("bind", err))
	}
	// Expedited forwarding (RFC 4594) and time stamps are wishes: a call works without them.
	if family == unix.AF_INET6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 0xB8)
	} else {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, 0xB8)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	return &socket{fd: fd, local: at}, nil
}

func addr4(a netip.Addr) [4]byte {
	if a.Is4() {
		return a.As4()
	}
	return [4]byte{}
}

func (s *socket) is4() bool { return s.local.Addr().Is4() }

func (s *socket) close() { unix.Close(s.fd) }

// target is an address ready for sendto.
type target struct {
	ap   netip.AddrPort
	size uintptr
	raw  unix.RawSockaddrInet6 // also holds the shorter RawSockaddrInet4
}

func (t *target) set(ap netip.AddrPort) {
	t.ap = ap
	port := [2]byte{byte(ap.Port() >> 8), byte(ap.Port())}
	if ap.Addr().Is4() {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&t.raw))
		*sa = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: *(*uint16)(unsafe.Pointer(&port)), Addr: ap.Addr().As4()}
		t.size = unix.SizeofSockaddrInet4
		return
	}
	t.raw = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: *(*uint16)(unsafe.Pointer(&port)), Addr: ap.Addr().As16()}
	t.size = unix.SizeofSockaddrInet6
}

// send sends one datagram without waiting. An ICMP error that an earlier one caused is
// reported by the kernel once instead of sending: then it is tried again.
func (s *socket) send(b []byte, to *target) bool {
	for range 2 {
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(&to.raw)), to.size)
		if errno == 0 {
			return true
		}
		if errno != unix.ECONNREFUSED && errno != unix.EINTR {
			return false
		}
	}
	return false
}

// batchSize is how many datagrams one system call reads: usually one waits, and the
// second place spares the call that would find the socket empty.
const batchSize = 4

type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// batch is a thread's buffers for recvmmsg.
type batch struct {
	msgs    [batchSize]mmsghdr
	iov     [batchSize]unix.Iovec
	from    [batchSize]unix.RawSockaddrInet6
	control [batchSize][64]byte
	data    [batchSize][rtpMTU]byte
}

func newBatch() *batch {
	b := &batch{}
	for i := range b.msgs {
		b.iov[i].Base = &b.data[i][0]
		b.iov[i].SetLen(rtpMTU)
		h := &b.msgs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&b.from[i]))
		h.Iov = &b.iov[i]
		h.SetIovlen(1)
		h.Control = &b.control[i][0]
		b.reset(i)
	}
	return b
}

func (b *batch) reset(i int) {
	b.msgs[i].hdr.Namelen = unix.SizeofSockaddrInet6
	b.msgs[i].hdr.SetControllen(len(b.control[i]))
}

// recv reads what waits, at most batchSize datagrams; get is valid until the next recv.
func (b *batch) recv(s *socket) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&b.msgs[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// get is datagram i of the last recv: its bytes, its source and when the kernel received it (wall clock,
// 0 when unknown). It must be called once for each.
func (b *batch) get(i int) (data []byte, from netip.AddrPort, wall int64) {
	m := &b.msgs[i]
	data = b.data[i][:m.len]
	if m.hdr.Flags&unix.MSG_TRUNC != 0 {
		data = nil
	}
	sa := &b.from[i]
	port := *(*[2]byte)(unsafe.Pointer(&sa.Port))
	p := uint16(port[0])<<8 | uint16(port[1])
	if sa.Family == unix.AF_INET {
		from = netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr), p)
	} else {
		from = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), p)
	}
	if m.hdr.Controllen >= unix.SizeofCmsghdr {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&b.control[i][0]))
		if c.Level == unix.SOL_SOCKET && c.Type == unix.SCM_TIMESTAMPNS {
			wall = (*unix.Timespec)(unsafe.Pointer(&b.control[i][unix.CmsgLen(0)])).Nano()
		}
	}
	b.reset(i)
	return data, from, wall
}
