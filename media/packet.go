package media

import "encoding/binary"

const (
	rtpHeader = 12
	rtpMTU    = 1500 // longer datagrams are no G.711
)

// header is the fixed part of an RTP packet (RFC 3550 section 5.1).
type header struct {
	pt     byte
	marker bool
	seq    uint16
	ts     uint32
	ssrc   uint32
}

// parseRTP reads a packet and returns the payload without CSRC list, extension and padding.
// The payload aliases b.
func parseRTP(b []byte) (h header, payload []byte, ok bool) {
	if len(b) < rtpHeader || b[0]>>6 != 2 {
		return h, nil, false
	}
	h = header{
		pt: b[1] & 0x7F, marker: b[1]&0x80 != 0,
		seq: binary.BigEndian.Uint16(b[2:]), ts: binary.BigEndian.Uint32(b[4:]), ssrc: binary.BigEndian.Uint32(b[8:]),
	}
	at := rtpHeader + 4*int(b[0]&0x0F)
	if b[0]&0x10 != 0 { // one header extension, its length in words without its own header
		if len(b) < at+4 {
			return h, nil, false
		}
		at += 4 + 4*int(binary.BigEndian.Uint16(b[at+2:]))
	}
	end := len(b)
	if b[0]&0x20 != 0 {
		pad := int(b[len(b)-1])
		if pad == 0 {
			return h, nil, false
		}
		end -= pad
	}
	if at > end {
		return h, nil, false
	}
	return h, b[at:end], true
}

// put writes the header into the first 12 bytes of b.
func (h *header) put(b []byte) {
	b[0] = 2 << 6
	b[1] = h.pt
	if h.marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], h.seq)
	binary.BigEndian.PutUint32(b[4:], h.ts)
	binary.BigEndian.PutUint32(b[8:], h.ssrc)
}

// isRTCP tells RTCP from RTP on a shared port (RFC 5761 section 4): packet types 192 to 223.
func isRTCP(b []byte) bool { return len(b) >= 8 && b[0]>>6 == 2 && b[1] >= 192 && b[1] <= 223 }
