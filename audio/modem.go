package audio

import (
	"math"
	"unicode/utf8"
)

// The subtitle modem writes what a simulated callee says into the callee's own
// audio, so that the text arrives only when RTP, codec and timing work. It is
// continuous-phase FSK at the top of the telephone band, below the voice:
// mark 3250 Hz, space 3500 Hz, 250 bit/s. Both tones have a whole number of
// cycles (13 and 14) in the 32 samples of a bit at 8 kHz, so they are
// orthogonal over a bit and every bit begins and ends at phase 0.
//
// A piece is a 24-bit sync word and one Reed-Solomon codeword of 20 bytes, sent
// most significant bit first:
//
//	type<<4 | length, 12 bytes UTF-8 (zero filled), CRC-16, 5 parity bytes
//
// which is 184 bits or 736 ms for four Chinese characters.
//
// Encoder functions are pure. A ModemDecoder belongs to one stream and is not
// safe for concurrent use.
const (
	modemBit      = 32 // samples of a bit
	modemMark     = 13 // cycles in a bit: 3250 Hz, a one
	modemSpace    = 14 // 3500 Hz, a zero
	modemSyncBits = 24
	// modemSync is the 24-bit frame synchronisation pattern of IRIG 106
	// (appendix A of chapter 4), chosen there for its low side lobes.
	modemSync = 0xFAF320

	// ModemText is how many bytes of text one piece carries.
	ModemText = 12
	// ModemPieceSamples is the length of one piece at 8 kHz.
	ModemPieceSamples = (modemSyncBits + 8*rsWord) * modemBit
	// ModemLevel is the usual RMS level of the tones in dBFS.
	ModemLevel = -30.0
)

// PieceType says what a piece of subtitle is.
type PieceType uint8

const (
	PieceText  PieceType = 1 // more of the utterance follows
	PieceEnd   PieceType = 2 // the utterance ends with this text, which may be empty
	PieceLabel PieceType = 3 // a sound that is no speech, such as "noise" or "laugh"
)

// Piece is one codeword's worth of subtitle.
type Piece struct {
	Type PieceType
	n    uint8
	b    [ModemText]byte
}

// Text is the piece's text, always valid UTF-8.
func (p *Piece) Text() string { return string(p.b[:p.n]) }

// NewPiece makes a piece of at most ModemText bytes; longer text is cut at a character.
func NewPiece(t PieceType, text string) Piece {
	p := Piece{Type: t}
	n := cutRunes(text, ModemText)
	p.n = uint8(copy(p.b[:], text[:n]))
	return p
}

// cutRunes is the largest length ≤ limit that ends at a character of s.
func cutRunes(s string, limit int) int {
	if len(s) <= limit {
		return len(s)
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return limit
}

// Subtitle cuts an utterance into pieces, the last of which ends it.
// Bytes that are not UTF-8 become U+FFFD.
func Subtitle(text string) []Piece {
	text = string([]rune(text))
	var out []Piece
	for len(text) > ModemText {
		n := cutRunes(text, ModemText)
		out = append(out, NewPiece(PieceText, text[:n]))
		text = text[n:]
	}
	return append(out, NewPiece(PieceEnd, text))
}

// AppendModem appends the 8 kHz samples of the pieces at the given level.
func AppendModem(dst []int16, dbfs float64, pieces ...Piece) []int16 {
	var tone [2][modemBit]int16
	amp := 32768 * math.Sqrt2 * math.Pow(10, dbfs/20)
	for i := range modemBit {
		tone[0][i] = int16(math.Round(amp * math.Sin(2*math.Pi*modemSpace*float64(i)/modemBit)))
		tone[1][i] = int16(math.Round(amp * math.Sin(2*math.Pi*modemMark*float64(i)/modemBit)))
	}
	for i := range pieces {
		for b := modemSyncBits - 1; b >= 0; b-- {
			dst = append(dst, tone[modemSync>>b&1][:]...)
		}
		word := pieces[i].word()
		for _, c := range word {
			for b := 7; b >= 0; b-- {
				dst = append(dst, tone[c>>b&1][:]...)
			}
		}
	}
	return dst
}

// UnderSpeech is what a simulated callee sends when it says text with the given
// voice (8 kHz): the voice without what lies above 2.7 kHz, with the subtitle
// underneath. The result is as long as the longer of both.
func UnderSpeech(speech []int16, text string, dbfs float64) []int16 {
	tones := AppendModem(nil, dbfs, Subtitle(text)...)
	out := lowPass27(speech)
	if len(out) < len(tones) {
		out = append(out, make([]int16, len(tones)-len(out))...)
	}
	for i, t := range tones {
		out[i] = clamp(int(out[i]) + int(t))
	}
	return out
}

// lowPassTaps is a Hamming-windowed sinc that cuts at 2.7 kHz: about 53 dB less
// at the modem's tones, which a shorter filter does not give.
var lowPassTaps = func() (h [65]float64) {
	const cut = 2700.0 / 8000
	sum := 0.0
	for i := range h {
		x := float64(i - len(h)/2)
		v := 2 * cut
		if x != 0 {
			v = math.Sin(2*math.Pi*cut*x) / (math.Pi * x)
		}
		h[i] = v * (0.54 - 0.46*math.Cos(2*math.Pi*float64(i)/float64(len(h)-1)))
		sum += h[i]
	}
	for i := range h {
		h[i] /= sum
	}
	return h
}()

// lowPass27 is in with everything above 2.7 kHz removed, without delay.
func lowPass27(in []int16) []int16 {
	out := make([]int16, len(in))
	half := len(lowPassTaps) / 2
	for i := range in {
		acc := 0.0
		for k, h := range lowPassTaps {
			if j := i + k - half; j >= 0 && j < len(in) {
				acc += h * float64(in[j])
			}
		}
		out[i] = clamp(int(math.Round(acc)))
	}
	return out
}

// word is the codeword of the piece.
func (p *Piece) word() (w [rsWord]byte) {
	w[0] = byte(p.Type)<<4 | p.n
	copy(w[1:], p.b[:])
	crc := crc16(w[:1+ModemText])
	w[1+ModemText] = byte(crc >> 8)
	w[2+ModemText] = byte(crc)
	rsEncode(&w)
	return w
}

// pieceOf reads a corrected codeword; ok is false unless everything about it is right.
func pieceOf(w *[rsWord]byte) (p Piece, ok bool) {
	p.Type, p.n = PieceType(w[0]>>4), w[0]&15
	copy(p.b[:], w[1:])
	if p.Type < PieceText || p.Type > PieceLabel || p.n > ModemText {
		return p, false
	}
	for _, b := range p.b[p.n:] {
		if b != 0 {
			return p, false
		}
	}
	// The word made anew from its text must be the word that came: CRC and parity at once.
	return p, utf8.Valid(p.b[:p.n]) && p.word() == *w
}

// crc16 is CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF.
func crc16(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, c := range b {
		crc ^= uint16(c) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}
