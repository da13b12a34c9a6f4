package media

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// kind is what a payload type carries.
type kind byte

const (
	kindNone kind = iota
	kindPCMA
	kindPCMU
	kindEvent // telephone-event, RFC 4733
	kindNoise // comfort noise, RFC 3389
)

var kindNames = [...]string{kindPCMA: "PCMA", kindPCMU: "PCMU", kindEvent: "telephone-event", kindNoise: "CN"}

// format is a payload type with its meaning.
type format struct {
	pt   byte
	kind kind
}

// direction of a stream, as its describer sees it.
type direction byte

const (
	sendRecv direction = iota
	sendOnly
	recvOnly
	inactive
)

var directionNames = [...]string{"sendrecv", "sendonly", "recvonly", "inactive"}

// reverse is the same direction as the other side sees it.
func (d direction) reverse() direction {
	switch d {
	case sendOnly:
		return recvOnly
	case recvOnly:
		return sendOnly
	}
	return d
}

// description is what we understand of an SDP: its first usable audio stream.
type description struct {
	addr     netip.Addr // unspecified: old-style hold; invalid: a name or nothing, the source is learned
	port     int        // 0: refused
	rtcp     netip.AddrPort
	formats  []format // those we know, in the order of preference
	ptime    time.Duration
	maxptime time.Duration
	dir      direction
	streams  []string // every m= line's value, to be answered in order
	audio    int      // index in streams
}

// maxSDP bounds what is read: a description of one call has a few hundred bytes.
const maxSDP = 64 << 10

// parseSDP reads a description as tolerantly as carriers write it: lines end in CRLF or LF,
// unknown lines and attributes are passed over, order is hardly looked at.
func parseSDP(b []byte) (*description, error) {
	if len(b) > maxSDP {
		return nil, fmt.Errorf("%w: %d bytes, at most %d were expected", ErrSDP, len(b), maxSDP)
	}
	d := &description{audio: -1}
	var session, own scope
	session.name = map[int]kind{0: kindPCMU, 8: kindPCMA, 13: kindNoise} // RFC 3551 table 4
	own.name = map[int]kind{}
	var listed []string
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if len(line) < 2 || line[1] != '=' {
			continue
		}
		value := strings.TrimSpace(line[2:])
		if line[0] == 'm' {
			if fields := strings.Fields(value); d.audio < 0 && usable(fields) {
				d.audio = len(d.streams)
				d.port, listed = streamPort(fields[1]), fields[3:]
			}
			d.streams = append(d.streams, value)
			continue
		}
		switch {
		case len(d.streams) == 0:
			session.line(line[0], value)
		case d.audio == len(d.streams)-1:
			own.line(line[0], value)
		}
	}
	if d.audio < 0 {
		return nil, fmt.Errorf("%w: no audio stream over RTP/AVP", ErrSDP)
	}
	d.take(&session, &own, listed)
	return d, nil
}

// usable says whether the m= line is one that we can speak: plain RTP audio with formats.
func usable(fields []string) bool {
	if len(fields) < 4 || fields[0] != "audio" {
		return false
	}
	return fields[2] == "RTP/AVP" || fields[2] == "RTP/AVPF"
}

func streamPort(s string) int {
	s, _, _ = strings.Cut(s, "/")
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}

// scope gathers what holds for the whole session or for one stream.
type scope struct {
	connection string
	name       map[int]kind
	rtcp       string
	ptime      int
	maxptime   int
	dir        direction
	hasDir     bool
}

func (s *scope) line(typ byte, value string) {
	switch typ {
	case 'c':
		if s.connection == "" {
			s.connection = value
		}
	case 'a':
		name, arg, _ := strings.Cut(value, ":")
		s.attribute(strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(arg))
	}
}

func (s *scope) attribute(name, arg string) {
	for i, n := range directionNames {
		if name == n {
			s.dir, s.hasDir = direction(i), true
		}
	}
	switch name {
	case "rtpmap":
		number, what, _ := strings.Cut(arg, " ")
		if pt, err := strconv.Atoi(number); err == nil {
			s.name[pt] = kindOf(strings.TrimSpace(what))
		}
	case "ptime":
		s.ptime = milliseconds(arg)
	case "maxptime":
		s.maxptime = milliseconds(arg)
	case "rtcp":
		s.rtcp = arg
	}
}

// milliseconds reads "20" and the careless "20.0"; 0 when it is neither.
func milliseconds(s string) int {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f > 0 && f < 1000) {
		return 0
	}
	return int(f)
}

// kindOf reads the encoding of an rtpmap: name/rate[/channels].
func kindOf(encoding string) kind {
	parts := strings.Split(encoding, "/")
	if len(parts) > 1 && strings.TrimSpace(parts[1]) != "8000" || len(parts) > 2 && strings.TrimSpace(parts[2]) != "1" {
		return kindNone
	}
	for k, name := range kindNames {
		if name != "" && strings.EqualFold(parts[0], name) {
			return kind(k)
		}
	}
	return kindNone
}

// take joins what was said for the session and for the stream.
func (d *description) take(session, own *scope, listed []string) {
	connection := own.connection
	if connection == "" {
		connection = session.connection
	}
	d.addr = connectionAddr(connection)
	d.dir = session.dir
	if own.hasDir {
		d.dir = own.dir
	}
	d.ptime, d.maxptime = session.ptimeOr(own.ptime), time.Duration(own.maxptime)*time.Millisecond
	for _, f := range listed {
		pt, err := strconv.Atoi(f)
		if err != nil || pt < 0 || pt > 127 {
			continue
		}
		k, said := own.name[pt]
		if !said {
			k = session.name[pt]
		}
		if k != kindNone {
			d.formats = append(d.formats, format{byte(pt), k})
		}
	}
	d.rtcp = netip.AddrPortFrom(d.addr, uint16(min(d.port+1, 65535)))
	if own.rtcp != "" { // RFC 3605: port [IN IP4 address]
		port, rest, _ := strings.Cut(own.rtcp, " ")
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			addr := d.addr
			if rest != "" {
				if a := connectionAddr(rest); a.IsValid() {
					addr = a
				}
			}
			d.rtcp = netip.AddrPortFrom(addr, uint16(n))
		}
	}
}

func (s *scope) ptimeOr(own int) time.Duration {
	if own == 0 {
		own = s.ptime
	}
	return time.Duration(own) * time.Millisecond
}

// connectionAddr reads "IN IP4 192.0.2.1/127"; invalid for a host name.
func connectionAddr(s string) netip.Addr {
	fields := strings.Fields(s)
	if len(fields) < 3 {
		return netip.Addr{}
	}
	text, _, _ := strings.Cut(fields[2], "/")
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}
	}
	return a.Unmap()
}

// held says that the describer does not want to hear us: sendonly, inactive or the old 0.0.0.0.
func (d *description) held() bool {
	return d.port == 0 || d.dir == sendOnly || d.dir == inactive || d.addr.IsValid() && d.addr.IsUnspecified()
}

// packetLength is how long our packets to the describer should be.
func (d *description) packetLength(offered time.Duration) time.Duration {
	want := d.ptime
	if !canSend(want) {
		want = offered
	}
	if d.maxptime > 0 && want > d.maxptime {
		for _, p := range packetLengths {
			if p <= d.maxptime {
				want = p
			}
		}
	}
	return want
}

// packetLengths are those we can send, from short to long.
var packetLengths = []time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 30 * time.Millisecond, 40 * time.Millisecond, 60 * time.Millisecond}

func canSend(p time.Duration) bool {
	for _, l := range packetLengths {
		if p == l {
			return true
		}
	}
	return false
}

// local is a description of ours, all but its o= line.
type local struct {
	addr    netip.Addr
	port    int // 0 refuses
	formats []format
	ptime   time.Duration
	dir     direction
	streams []string // of the offer that is answered; nil for an offer
	audio   int
}

// write makes the text with the given version.
func (l *local) write(id, version uint64) []byte {
	family := "IP4"
	if l.addr.Is6() {
		family = "IP6"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "v=0\r\no=- %d %d IN %s %s\r\ns=-\r\nc=IN %s %s\r\nt=0 0\r\n", id, version, family, l.addr, family, l.addr)
	if l.streams == nil {
		l.writeStream(&b)
	}
	for i, m := range l.streams {
		if i == l.audio {
			l.writeStream(&b)
			continue
		}
		refuse(&b, m)
	}
	return []byte(b.String())
}

// refuse answers a stream that we do not take with port 0 (RFC 3264 section 6).
func refuse(b *strings.Builder, m string) {
	fields := strings.Fields(m)
	for len(fields) < 4 {
		fields = append(fields, "0")
	}
	fields[1] = "0"
	fmt.Fprintf(b, "m=%s\r\n", strings.Join(fields, " "))
}

func (l *local) writeStream(b *strings.Builder) {
	fmt.Fprintf(b, "m=audio %d RTP/AVP", l.port)
	for _, f := range l.formats {
		fmt.Fprintf(b, " %d", f.pt)
	}
	b.WriteString("\r\n")
	for _, f := range l.formats {
		fmt.Fprintf(b, "a=rtpmap:%d %s/8000\r\n", f.pt, kindNames[f.kind])
		if f.kind == kindEvent {
			fmt.Fprintf(b, "a=fmtp:%d 0-15\r\n", f.pt)
		}
	}
	if l.port == 0 {
		return
	}
	fmt.Fprintf(b, "a=ptime:%d\r\na=rtcp:%d\r\na=%s\r\n", l.ptime.Milliseconds(), l.port+1, directionNames[l.dir])
}
