package carrier

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// ports opens pairs of sockets: RTP on an even port, RTCP on the next (RFC 3550 11).
type ports struct {
	addr      netip.Addr
	low, high int // 0, 0: the kernel chooses

	mu   sync.Mutex
	next int
}

func newPorts(addr netip.Addr, low, high int) (*ports, error) {
	if low == 0 && high == 0 {
		return &ports{addr: addr}, nil
	}
	low += low % 2
	if low < 1024 || high > 65535 || high <= low {
		return nil, fmt.Errorf("carrier: RTP ports %d to %d: a range of at least two within 1024 to 65535 was expected", low, high)
	}
	return &ports{addr: addr, low: low, high: high, next: low}, nil
}

var errNoPorts = errors.New("no free pair of RTP ports")

// portTries bounds the search of a free pair.
const portTries = 200

func (p *ports) open() (rtp, rtcp *net.UDPConn, err error) {
	for range portTries {
		port := p.candidate()
		if rtp, err = p.listen(port); err != nil {
			continue
		}
		port = rtp.LocalAddr().(*net.UDPAddr).Port
		if port%2 == 0 && port < 65535 {
			if rtcp, err = p.listen(port + 1); err == nil {
				return rtp, rtcp, nil
			}
		}
		rtp.Close()
	}
	if err == nil {
		err = errNoPorts
	}
	return nil, nil, fmt.Errorf("carrier: RTP on %s: %w", p.addr, err)
}

func (p *ports) listen(port int) (*net.UDPConn, error) {
	return net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.addr, uint16(port))))
}

func (p *ports) candidate() int {
	if p.low == 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	port := p.next
	if p.next += 2; p.next+1 > p.high {
		p.next = p.low
	}
	return port
}
