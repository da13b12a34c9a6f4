package audio

import (
	"math"
	"strings"
)

// ITU-T Q.23: one of four low and one of four high frequencies.
var (
	dtmfLow  = [4]float64{697, 770, 852, 941}
	dtmfHigh = [4]float64{1209, 1336, 1477, 1633}
)

const dtmfDigits = "123A456B789C*0#D"

// DTMFPair is the low and the high frequency of a digit, zeros when the byte is none.
func DTMFPair(digit byte) (low, high float64) {
	i := strings.IndexByte(dtmfDigits, digit)
	if i < 0 {
		return 0, 0
	}
	return dtmfLow[i/4], dtmfHigh[i%4]
}

// DTMFTone is n samples of the digit's tone, low group at -13 dBFS and high group 2 dB
// louder, which is a usual sending level; nil when the byte is no digit.
func DTMFTone(digit byte, n int) []int16 {
	low, high := DTMFPair(digit)
	if low == 0 {
		return nil
	}
	pcm := Tone(n, -13, low)
	Mix(pcm, Tone(n, -11, high))
	return pcm
}

const (
	dtmfBlock  = 102 // samples: the length at which all eight frequencies fall near whole cycles
	dtmfHits   = 2   // equal blocks that begin a digit
	dtmfMisses = 3   // blocks without it that end it
)

// Limits as used by switches in the field: the high group may be 4 dB weaker and the low
// group 8 dB weaker than the other, the next frequency of a group must be 8 dB down.
// For a pure pair of tones both Goertzel powers together are block/2 times the block's
// energy (51); speech falls far short of 0.82 of it.
var (
	dtmfTwistHigh = math.Pow(10, 0.8)
	dtmfTwistLow  = math.Pow(10, 0.4)
	dtmfRelative  = math.Pow(10, 0.8)
	dtmfFloor     = math.Pow(10, -38.0/10) * 32768 * 32768 * dtmfBlock // energy of a block at -38 dBFS
	dtmfCoef      = func() (c [8]float32) {
		for i := range 4 {
			c[i] = float32(2 * math.Cos(2*math.Pi*dtmfLow[i]/SampleRate))
			c[i+4] = float32(2 * math.Cos(2*math.Pi*dtmfHigh[i]/SampleRate))
		}
		return c
	}()
)

const dtmfPurity = 42.0

// DTMFDetector hears digits in a stream of samples at 8 kHz. The zero value is ready.
// Speech can trigger it now and then: run it only where digits come in no other way.
type DTMFDetector struct {
	v1, v2 [8]float32
	energy float64
	n      int

	hit    byte // digit of the last blocks
	hits   int
	misses int
	now    byte // digit that is sounding
}

// Frame takes the next samples and returns the digit that began in them, 0 for none.
func (d *DTMFDetector) Frame(pcm []int16) byte {
	var began byte
	for len(pcm) > 0 {
		n := min(len(pcm), dtmfBlock-d.n)
		d.feed(pcm[:n])
		pcm = pcm[n:]
		if d.n == dtmfBlock {
			if b := d.block(); b != 0 {
				began = b
			}
		}
	}
	return began
}

// Sounding is the digit that is sounding now, 0 for none.
func (d *DTMFDetector) Sounding() byte { return d.now }

func (d *DTMFDetector) feed(pcm []int16) {
	var sum int64
	for _, s := range pcm {
		sum += int64(s) * int64(s)
	}
	d.energy += float64(sum)
	for k := range d.v1 {
		c, v1, v2 := dtmfCoef[k], d.v1[k], d.v2[k]
		for _, s := range pcm {
			v1, v2 = c*v1-v2+float32(s), v1
		}
		d.v1[k], d.v2[k] = v1, v2
	}
	d.n += len(pcm)
}

// block judges a full block and starts the next.
func (d *DTMFDetector) block() byte {
	digit := d.judge()
	d.v1, d.v2, d.energy, d.n = [8]float32{}, [8]float32{}, 0, 0
	if digit != 0 && digit == d.hit {
		d.hits++
	} else {
		d.hit, d.hits = digit, 1
	}
	if digit == d.now {
		d.misses = 0
	} else if d.now != 0 {
		if d.misses++; d.misses >= dtmfMisses {
			d.now, d.misses = 0, 0
		}
	}
	if d.hit == 0 || d.hits != dtmfHits || d.hit == d.now {
		return 0
	}
	d.now, d.misses = d.hit, 0
	return d.hit
}

func (d *DTMFDetector) judge() byte {
	if d.energy < dtmfFloor {
		return 0
	}
	var power [8]float64
	for k := range power {
		v1, v2 := float64(d.v1[k]), float64(d.v2[k])
		power[k] = v1*v1 + v2*v2 - v1*v2*float64(dtmfCoef[k])
	}
	low, okLow := strongest(power[:4])
	high, okHigh := strongest(power[4:])
	l, h := power[low], power[4+high]
	if !okLow || !okHigh || l*dtmfTwistHigh < h || h*dtmfTwistLow < l || l+h < dtmfPurity*d.energy {
		return 0
	}
	return dtmfDigits[4*low+high]
}

// strongest is the index of the largest power; ok when all others are far below it.
func strongest(power []float64) (best int, ok bool) {
	for i, p := range power {
		if p > power[best] {
			best = i
		}
	}
	for i, p := range power {
		if i != best && p*dtmfRelative > power[best] {
			return best, false
		}
	}
	return best, true
}
