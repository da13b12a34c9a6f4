package carrier

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Static payload types of RFC 3551.
const (
	ptPCMU = 0
	ptPCMA = 8
)

// description is what the carrier reads of a session description: the first audio stream.
type description struct {
	addr      netip.Addr
	port      int
	formats   []int          // payload types of the m= line in order
	maps      map[int]string // rtpmap, upper case: "PCMA/8000"
	ptime     int            // ms; 0 when not given
	direction string         // sendrecv, sendonly, recvonly, inactive
	media     int            // number of m= lines
	session   string         // o= sess-id
	version   string         // o= sess-version
	rtcp      int            // port of a=rtcp; 0 when not given
	missing   []string       // required lines that are not there
}

var errNoAudio = errors.New("no audio stream")

// parseSDP reads a session description (RFC 8866). Unknown lines are passed over, lines may end in LF alone.
func parseSDP(body []byte) (*description, error) {
	d := &description{maps: map[int]string{}, direction: "sendrecv"}
	have := map[byte]bool{}
	audio := false // within the first audio stream
	for line := range strings.SplitSeq(string(body), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			continue
		}
		if len(line) < 2 || line[1] != '=' {
			return nil, fmt.Errorf("line %q is not of the form x=value", clip(line))
		}
		v := line[2:]
		have[line[0]] = true
		switch line[0] {
		case 'o':
			f := strings.Fields(v)
			if len(f) != 6 {
				return nil, fmt.Errorf("o=%s: six fields were expected", clip(v))
			}
			d.session, d.version = f[1], f[2]
		case 'c':
			f := strings.Fields(v)
			if len(f) != 3 || f[0] != "IN" {
				return nil, fmt.Errorf("c=%s: IN IP4 or IP6 and an address were expected", clip(v))
			}
			host, _, _ := strings.Cut(f[2], "/")
			a, err := netip.ParseAddr(host)
			if err != nil {
				return nil, fmt.Errorf("c=%s: %w", clip(v), err)
			}
			if d.media == 0 || audio {
				d.addr = a.Unmap()
			}
		case 'm':
			d.media++
			f := strings.Fields(v)
			if len(f) < 4 {
				return nil, fmt.Errorf("m=%s: media, port, profile and formats were expected", clip(v))
			}
			if audio = f[0] == "audio" && d.formats == nil; !audio {
				continue
			}
			if err := d.readAudio(f); err != nil {
				return nil, err
			}
		case 'a':
			if d.media == 0 || audio {
				d.readAttribute(v)
			}
		}
	}
	for _, l := range []byte("vost") {
		if !have[l] {
			d.missing = append(d.missing, string(l)+"=")
		}
	}
	if d.formats == nil {
		return nil, errNoAudio
	}
	return d, nil
}

func (d *description) readAudio(f []string) error {
	port, _, _ := strings.Cut(f[1], "/")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("m=audio: port %q: %w", clip(f[1]), err)
	}
	d.port = int(n)
	for _, s := range f[3:] {
		pt, err := strconv.ParseUint(s, 10, 7)
		if err != nil {
			return fmt.Errorf("m=audio: payload type %q: %w", clip(s), err)
		}
		d.formats = append(d.formats, int(pt))
	}
	return nil
}

func (d *description) readAttribute(v string) {
	name, rest, _ := strings.Cut(v, ":")
	switch name {
	case "sendrecv", "sendonly", "recvonly", "inactive":
		d.direction = name
	case "ptime":
		if n, err := strconv.Atoi(strings.TrimSpace(rest)); err == nil && n > 0 && n <= 200 {
			d.ptime = n
		}
	case "rtcp":
		if f := strings.Fields(rest); len(f) > 0 {
			if n, err := strconv.ParseUint(f[0], 10, 16); err == nil {
				d.rtcp = int(n)
			}
		}
	case "rtpmap":
		pt, enc, ok := strings.Cut(rest, " ")
		if n, err := strconv.ParseUint(pt, 10, 7); ok && err == nil {
			d.maps[int(n)] = strings.ToUpper(strings.TrimSpace(enc))
		}
	}
}

// codec is the first format of the description among those allowed, -1 when there is none.
func (d *description) codec(allowed ...int) int {
	for _, pt := range d.formats {
		for _, a := range allowed {
			if pt == a {
				return pt
			}
		}
	}
	return -1
}

// event is the payload type of telephone-event at 8 kHz, -1 when not offered.
func (d *description) event() int {
	for _, pt := range d.formats {
		if strings.HasPrefix(d.maps[pt], "TELEPHONE-EVENT/8000") {
			return pt
		}
	}
	return -1
}

// held says that no media is wanted.
func (d *description) held() bool {
	return d.direction == "sendonly" || d.direction == "inactive" || d.addr.IsUnspecified()
}

// mirror is the direction of an answer to an offer of the given one, when both ways are possible (RFC 3264 6.1).
func mirror(direction string) string {
	switch direction {
	case "sendonly":
		return "recvonly"
	case "recvonly":
		return "sendonly"
	}
	return direction
}

// local is a description of the carrier's own.
type local struct {
	addr      netip.Addr
	port      int
	session   uint64
	version   int
	codecs    []int
	event     int // payload type of telephone-event; -1: none
	ptime     int
	direction string
}

func (l *local) bytes() []byte {
	family := "IP4"
	if l.addr.Is6() {
		family = "IP6"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "v=0\r\no=carrier %d %d IN %s %s\r\ns=-\r\nc=IN %s %s\r\nt=0 0\r\nm=audio %d RTP/AVP",
		l.session, l.version, family, l.addr, family, l.addr, l.port)
	for _, pt := range l.codecs {
		fmt.Fprintf(&b, " %d", pt)
	}
	if l.event >= 0 {
		fmt.Fprintf(&b, " %d", l.event)
	}
	b.WriteString("\r\n")
	for _, pt := range l.codecs {
		name := "PCMA"
		if pt == ptPCMU {
			name = "PCMU"
		}
		fmt.Fprintf(&b, "a=rtpmap:%d %s/8000\r\n", pt, name)
	}
	if l.event >= 0 {
		fmt.Fprintf(&b, "a=rtpmap:%d telephone-event/8000\r\na=fmtp:%d 0-15\r\n", l.event, l.event)
	}
	fmt.Fprintf(&b, "a=ptime:%d\r\na=%s\r\n", l.ptime, l.direction)
	return []byte(b.String())
}

// clip keeps what came from outside short in errors.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
