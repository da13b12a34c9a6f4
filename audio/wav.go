package audio

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// WAVFormat is how samples are stored in a WAV file.
type WAVFormat uint16

const (
	WAVPCM16 WAVFormat = 1
	WAVALaw  WAVFormat = 6
	WAVULaw  WAVFormat = 7

	wavExtensible = 0xFFFE
)

// SampleBytes is the size of one sample of one channel.
func (f WAVFormat) SampleBytes() int {
	if f == WAVPCM16 {
		return 2
	}
	return 1
}

// WAV is a sound file that was read.
type WAV struct {
	Format   WAVFormat
	Rate     int
	Channels [][]int16 // one or two, of equal length
}

// Mono is the sound as one channel: the mean of both when there are two.
func (w *WAV) Mono() []int16 {
	if len(w.Channels) == 1 {
		return w.Channels[0]
	}
	out := make([]int16, len(w.Channels[0]))
	for i := range out {
		out[i] = int16((int(w.Channels[0][i]) + int(w.Channels[1][i])) / 2)
	}
	return out
}

const (
	wavMinRate = 4000
	wavMaxRate = 192000
)

// ErrWAV is in the chain of every error of ReadWAV.
var ErrWAV = errors.New("not a usable WAV file")

// ReadWAV reads 16-bit PCM, A-law or µ-law with one or two channels. It is tolerant as
// recorders are careless: lengths that are 0, all ones or beyond the end (a recorder that was
// killed) mean the rest of the file, unknown chunks are passed over, a missing pad byte is forgiven.
func ReadWAV(b []byte) (*WAV, error) {
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return nil, fmt.Errorf("%w: it does not begin with RIFF and WAVE", ErrWAV)
	}
	var w *WAV
	for rest := b[12:]; len(rest) >= 8; {
		id, size := string(rest[:4]), int64(binary.LittleEndian.Uint32(rest[4:]))
		rest = rest[8:]
		switch id {
		case "fmt ":
			f, err := readFormat(rest[:min(size, int64(len(rest)))])
			if err != nil {
				return nil, err
			}
			w = f
		case "data":
			if w == nil {
				return nil, fmt.Errorf("%w: the data come before their format", ErrWAV)
			}
			if size == 0 || size > int64(len(rest)) {
				size = int64(len(rest))
			}
			w.take(rest[:size])
			return w, nil
		}
		if size > int64(len(rest)) {
			break
		}
		rest = rest[size:]
		// chunks begin at even offsets; some writers forget the pad byte, then it belongs to the next chunk's name
		if size%2 == 1 && len(rest) > 0 && rest[0] == 0 {
			rest = rest[1:]
		}
	}
	return nil, fmt.Errorf("%w: no data chunk", ErrWAV)
}

func readFormat(b []byte) (*WAV, error) {
	if len(b) < 16 {
		return nil, fmt.Errorf("%w: the format chunk has %d bytes, 16 at least were expected", ErrWAV, len(b))
	}
	format := WAVFormat(binary.LittleEndian.Uint16(b))
	channels := int(binary.LittleEndian.Uint16(b[2:]))
	rate := int64(binary.LittleEndian.Uint32(b[4:]))
	depth := int(binary.LittleEndian.Uint16(b[14:]))
	if format == wavExtensible && len(b) >= 26 {
		format = WAVFormat(binary.LittleEndian.Uint16(b[24:])) // first field of the sub-format GUID
	}
	switch format {
	case WAVPCM16, WAVALaw, WAVULaw:
	default:
		return nil, fmt.Errorf("%w: format %d, but 1 (PCM), 6 (A-law) or 7 (µ-law) was expected", ErrWAV, format)
	}
	if depth != 8*format.SampleBytes() {
		return nil, fmt.Errorf("%w: %d bits a sample, but %d were expected of format %d", ErrWAV, depth, 8*format.SampleBytes(), format)
	}
	if channels != 1 && channels != 2 {
		return nil, fmt.Errorf("%w: %d channels, but 1 or 2 were expected", ErrWAV, channels)
	}
	if rate < wavMinRate || rate > wavMaxRate {
		return nil, fmt.Errorf("%w: %d samples a second, but %d to %d were expected", ErrWAV, rate, wavMinRate, wavMaxRate)
	}
	return &WAV{Format: format, Rate: int(rate), Channels: make([][]int16, channels)}, nil
}

// take reads the interleaved samples.
func (w *WAV) take(b []byte) {
	width, n := w.Format.SampleBytes(), len(w.Channels)
	frames := len(b) / (width * n)
	for c := range w.Channels {
		pcm := make([]int16, frames)
		for i := range pcm {
			at := (i*n + c) * width
			switch w.Format {
			case WAVALaw:
				pcm[i] = alawToPCM[b[at]]
			case WAVULaw:
				pcm[i] = ulawToPCM[b[at]]
			default:
				pcm[i] = int16(binary.LittleEndian.Uint16(b[at:]))
			}
		}
		w.Channels[c] = pcm
	}
}

// WAVHeaderSize is the length of every header that AppendWAVHeader makes. The fact
// chunk is required with anything but PCM and harmless with it.
const WAVHeaderSize = 12 + 8 + 18 + 8 + 4 + 8

// AppendWAVHeader appends the header of a file with dataBytes of samples to dst. A recorder writes it first
// with 0 and again at offset 0 with each flush, so that the file is true at every moment. Lengths beyond
// 4 GB are written as the largest possible.
func AppendWAVHeader(dst []byte, f WAVFormat, channels, rate int, dataBytes int64) []byte {
	const most = 1<<32 - 1
	le := binary.LittleEndian
	block := channels * f.SampleBytes()
	dst = append(dst, "RIFF"...)
	dst = le.AppendUint32(dst, uint32(min(most, WAVHeaderSize-8+dataBytes)))
	dst = append(dst, "WAVEfmt "...)
	dst = le.AppendUint32(dst, 18)
	dst = le.AppendUint16(dst, uint16(f))
	dst = le.AppendUint16(dst, uint16(channels))
	dst = le.AppendUint32(dst, uint32(rate))
	dst = le.AppendUint32(dst, uint32(rate*block))
	dst = le.AppendUint16(dst, uint16(block))
	dst = le.AppendUint16(dst, uint16(8*f.SampleBytes()))
	dst = le.AppendUint16(dst, 0) // no extension
	dst = append(dst, "fact"...)
	dst = le.AppendUint32(dst, 4)
	dst = le.AppendUint32(dst, uint32(min(most, dataBytes/int64(block))))
	dst = append(dst, "data"...)
	return le.AppendUint32(dst, uint32(min(most, dataBytes)))
}

// WriteWAV is a whole file of 16-bit PCM with one or two channels of equal length.
func WriteWAV(rate int, channels ...[]int16) []byte {
	n := len(channels[0])
	b := AppendWAVHeader(nil, WAVPCM16, len(channels), rate, int64(2*n*len(channels)))
	for i := range n {
		for _, c := range channels {
			b = binary.LittleEndian.AppendUint16(b, uint16(c[i]))
		}
	}
	return b
}
