package audio

import "math/bits"

// Silence in G.711: the code of the smallest positive step.
const (
	SilenceALaw = 0xD5
	SilenceULaw = 0xFF
)

// G.711 by table. A-law knows 13 bits and µ-law 14, so the encoding tables are
// indexed by the upper bits of a sample and stay small enough for the cache.
var (
	alawToPCM [256]int16
	ulawToPCM [256]int16
	pcmToALaw [1 << 13]byte
	pcmToULaw [1 << 14]byte
)

func init() {
	for i := range 256 {
		alawToPCM[i] = expandALaw(byte(i))
		ulawToPCM[i] = expandULaw(byte(i))
	}
	for i := range pcmToALaw {
		pcmToALaw[i] = compressALaw(int(int16(i << 3)))
	}
	for i := range pcmToULaw {
		pcmToULaw[i] = compressULaw(int(int16(i << 2)))
	}
}

// DecodeALaw expands src into dst, as many samples as the shorter of both holds, and returns that number.
func DecodeALaw(dst []int16, src []byte) int {
	n := min(len(dst), len(src))
	dst, src = dst[:n], src[:n]
	for i, b := range src {
		dst[i] = alawToPCM[b]
	}
	return n
}

// EncodeALaw compresses src into dst, as many samples as the shorter of both holds, and returns that number.
func EncodeALaw(dst []byte, src []int16) int {
	n := min(len(dst), len(src))
	dst, src = dst[:n], src[:n]
	for i, s := range src {
		dst[i] = pcmToALaw[uint16(s)>>3]
	}
	return n
}

// DecodeULaw is DecodeALaw for µ-law.
func DecodeULaw(dst []int16, src []byte) int {
	n := min(len(dst), len(src))
	dst, src = dst[:n], src[:n]
	for i, b := range src {
		dst[i] = ulawToPCM[b]
	}
	return n
}

// EncodeULaw is EncodeALaw for µ-law.
func EncodeULaw(dst []byte, src []int16) int {
	n := min(len(dst), len(src))
	dst, src = dst[:n], src[:n]
	for i, s := range src {
		dst[i] = pcmToULaw[uint16(s)>>2]
	}
	return n
}

// expandALaw follows ITU-T G.711 table 1: even bits inverted, sign, 3 bits of segment, 4 of step.
func expandALaw(b byte) int16 {
	b ^= 0x55
	v := int(b&0x0F)<<4 + 8
	if seg := int(b >> 4 & 7); seg > 0 {
		v = (v + 0x100) << (seg - 1)
	}
	if b&0x80 == 0 {
		v = -v
	}
	return int16(v)
}

func compressALaw(s int) byte {
	s >>= 3
	mask := byte(0xD5)
	if s < 0 {
		mask = 0x55
		s = -s - 1
	}
	// s is 12 bits: segment 0 and 1 are linear with step 2, each further one doubles it.
	seg := max(bits.Len(uint(s))-5, 0)
	step := s >> max(seg, 1) & 0x0F
	return byte(seg<<4|step) ^ mask
}

// expandULaw follows ITU-T G.711 table 2: all bits inverted, biased by 33 in 14 bits.
func expandULaw(b byte) int16 {
	b = ^b
	v := (int(b&0x0F)<<3+0x84)<<(b>>4&7) - 0x84
	if b&0x80 != 0 {
		v = -v
	}
	return int16(v)
}

func compressULaw(s int) byte {
	const bias, clip = 33, 8158
	s >>= 2
	mask := byte(0xFF)
	if s < 0 {
		mask = 0x7F
		s = -s
	}
	s = min(s, clip) + bias
	seg := bits.Len(uint(s)) - 6
	return byte(seg<<4|s>>(seg+1)&0x0F) ^ mask
}
