package media

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"
)

// eventPT is the payload type under which we offer telephone-event.
const eventPT = 101

// flow is what was agreed on, as the media thread uses it. It never changes once published.
type flow struct {
	remote   netip.AddrPort // invalid: learned from what arrives
	rtcp     netip.AddrPort
	law      kind // of what we send
	pt       byte // of what we send
	events   bool // telephone-event was agreed on
	eventPT  byte // of the events we send
	kinds    [128]kind
	samples  int  // of a packet that we send
	send     bool // the far end wants to hear us
	expected bool // the far end wants to be heard
}

// negotiation is the offer/answer side of a session (RFC 3264). The session's mutex guards it.
type negotiation struct {
	id, version uint64
	body        local // what our last description said
	text        []byte
	described   bool
	offered     []format
	lastOffer   []byte // of the far end
	lastAnswer  []byte // our answer to it
	lastRemote  []byte // the far end's last answer
	negotiated  bool
}

// formatsOf turns the configured codecs into what we offer.
func formatsOf(codecs []string) ([]format, error) {
	if len(codecs) == 0 {
		codecs = []string{"pcma", "pcmu"}
	}
	var fs []format
	for _, c := range codecs {
		switch c {
		case "pcma":
			fs = append(fs, format{8, kindPCMA})
		case "pcmu":
			fs = append(fs, format{0, kindPCMU})
		default:
			return nil, fmt.Errorf("codec %q: pcma or pcmu was expected", c)
		}
	}
	return append(fs, format{eventPT, kindEvent}), nil
}

// Offer is our description, to be sent in the INVITE.
func (s *Session) Offer() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offerLocked()
}

func (s *Session) offerLocked() []byte {
	return s.describeLocked(local{addr: s.cfg.Local, port: s.port, formats: s.neg.offered, ptime: s.cfg.Ptime})
}

// describeLocked writes a description; its version grows only when something in it has changed.
func (s *Session) describeLocked(l local) []byte {
	n := &s.neg
	if n.described && bytes.Equal(l.write(0, 0), n.body.write(0, 0)) {
		return bytes.Clone(n.text)
	}
	if n.described {
		n.version++
	}
	n.body, n.described = l, true
	n.text = l.write(n.id, n.version)
	return bytes.Clone(n.text)
}

// Remote applies the far end's answer (183, 200) to our last offer.
func (s *Session) Remote(answer []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.neg.negotiated && bytes.Equal(answer, s.neg.lastRemote) {
		return nil
	}
	d, err := parseSDP(answer)
	if err != nil {
		return err
	}
	if d.port == 0 {
		return ErrRefused
	}
	if err := s.agreeLocked(d); err != nil {
		return err
	}
	s.neg.lastRemote = bytes.Clone(answer)
	return nil
}

// Reoffer answers a later offer of the far end. A nil offer asks for an offer of ours, to which Remote
// brings the answer. An offer like the last one gets the same answer.
func (s *Session) Reoffer(offer []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	n := &s.neg
	if offer == nil {
		n.lastOffer, n.lastRemote = nil, nil
		return s.offerLocked(), nil
	}
	if n.lastOffer != nil && bytes.Equal(offer, n.lastOffer) {
		return bytes.Clone(n.lastAnswer), nil
	}
	d, err := parseSDP(offer)
	if err != nil {
		return nil, err
	}
	answer := local{addr: s.cfg.Local, port: s.port, ptime: s.cfg.Ptime, dir: d.dir.reverse(), streams: d.streams, audio: d.audio}
	if d.held() && d.dir == sendRecv {
		answer.dir = recvOnly // 0.0.0.0, the hold of RFC 2543
	}
	for _, f := range d.formats {
		if f.kind == kindNoise || f.kind != kindEvent && !s.offersLocked(f.kind) {
			continue
		}
		answer.formats = append(answer.formats, f)
	}
	if d.port == 0 {
		answer.port = 0
		if len(answer.formats) == 0 {
			answer.formats = n.offered
		}
		s.silenceLocked()
	} else if err := s.agreeLocked(d); err != nil {
		return nil, err
	}
	n.lastOffer, n.lastAnswer, n.lastRemote = bytes.Clone(offer), s.describeLocked(answer), nil
	return bytes.Clone(n.lastAnswer), nil
}

func (s *Session) offersLocked(k kind) bool {
	for _, f := range s.neg.offered {
		if f.kind == k {
			return true
		}
	}
	return false
}

// agreeLocked turns the far end's description into a flow and hands it to the media thread.
func (s *Session) agreeLocked(d *description) error {
	f := &flow{send: !d.held(), expected: d.dir == sendRecv && !d.held()}
	if d.addr.IsValid() && !d.addr.IsUnspecified() {
		if d.addr.Is4() != s.rtp.is4() {
			return fmt.Errorf("%w: the far end wants media at %s, which our address %s cannot reach", ErrSDP, d.addr, s.cfg.Local)
		}
		f.remote = netip.AddrPortFrom(d.addr, uint16(d.port))
		f.rtcp = d.rtcp
	}
	// What we offered may come under our payload types whatever the answer names them; see RFC 3264 section 6.1.
	for _, o := range s.neg.offered {
		f.kinds[o.pt] = o.kind
	}
	f.kinds[13] = kindNoise
	for _, o := range d.formats {
		f.kinds[o.pt] = o.kind
		switch {
		case o.kind == kindEvent && !f.events:
			f.events, f.eventPT = true, o.pt
		case f.law == kindNone && o.kind != kindNoise && o.kind != kindEvent && s.offersLocked(o.kind):
			f.law, f.pt = o.kind, o.pt
		}
	}
	if f.law == kindNone {
		return fmt.Errorf("%w: ours are %s", ErrNoCodec, s.codecNames())
	}
	f.samples = int(d.packetLength(s.cfg.Ptime) / time.Millisecond * 8)
	s.publishLocked(f)
	return nil
}

// silenceLocked stops the stream after the far end has removed it.
func (s *Session) silenceLocked() {
	if cur := s.flow.Load(); cur != nil {
		f := *cur
		f.send, f.expected = false, false
		s.publishLocked(&f)
	}
}

func (s *Session) codecNames() string {
	var b []byte
	for _, f := range s.neg.offered {
		if f.kind != kindEvent {
			b = fmt.Appendf(b, "%s ", kindNames[f.kind])
		}
	}
	return string(bytes.TrimSpace(b))
}

// publishLocked hands a flow to the media thread, and the session to a clock with the first one.
func (s *Session) publishLocked(f *flow) {
	s.neg.negotiated = true
	s.flow.Store(f)
	s.joinLocked()
}
