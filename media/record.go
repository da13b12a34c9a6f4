package media

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"waihu/audio"
)

const (
	recLeft  = 0 // the callee
	recRight = 1 // the agent, as played

	recFrames = 12288 // sample pairs of a recorder's ring: 1.5 s, 24 KB, six pages; the largest part of a call's memory
	recLate   = 2400  // samples: packets may be 300 ms late and still find their place
	recFlush  = 6000  // samples that make a write: 750 ms; the disk may then stall for 480 ms and nothing is lost
	// recScan is how often the writer looks for recorders with enough to write; often, so that it never holds a core
	// for long when there is only one. With recLate, recFlush and
	// a write of its own nothing is older than 1.2 s when it reaches the file.
	recScan = 20 * time.Millisecond
)

// recorder is the recording of one call: a ring of pairs of G.711 codes by media time. The media
// thread writes it from sealed on, the writer reads below sealed; both are counts of
// samples since the answer that only grow. What the ring does not take (a stalled disk) is silence, counted.
type recorder struct {
	path  string
	law   kind
	pcm16 bool
	quiet byte
	ring  []byte

	sealed  atomic.Int64
	written atomic.Int64
	dropped int64 // media thread

	mu   sync.Mutex // the writer, or Close in its stead
	file *os.File
	err  error
	data int64 // bytes of samples in the file
}

func newRecorder(path string, law kind, pcm16 bool) *recorder {
	r := &recorder{path: path, law: law, pcm16: pcm16, quiet: audio.SilenceALaw, ring: takeRing()}
	if law == kindPCMU {
		r.quiet = audio.SilenceULaw
	}
	for i := range r.ring {
		r.ring[i] = r.quiet
	}
	return r
}

// put places codes at a position of one channel; what is already sealed or does not fit is dropped.
func (r *recorder) put(channel int, pos int64, codes []byte, law kind) {
	if over := r.sealed.Load() - pos; over > 0 {
		if over >= int64(len(codes)) {
			return
		}
		pos, codes = pos+over, codes[over:]
	}
	if room := r.written.Load() + recFrames - pos; room < int64(len(codes)) {
		room = max(0, room)
		if channel == recRight {
			r.dropped += int64(len(codes)) - room
		}
		codes = codes[:room]
	}
	if law != r.law {
		table := &alawToULaw
		if law == kindPCMU {
			table = &ulawToALaw
		}
		for i, c := range codes {
			r.ring[(pos+int64(i))%recFrames*2+int64(channel)] = table[c]
		}
		return
	}
	at := int(pos%recFrames)*2 + channel
	for _, c := range codes {
		if at >= 2*recFrames {
			at -= 2 * recFrames
		}
		r.ring[at] = c
		at += 2
	}
}

// seal says that nothing below pos will change.
func (r *recorder) seal(pos int64) {
	if pos > r.sealed.Load() {
		r.sealed.Store(pos)
	}
}

// report is valid once the recorder is finished.
func (r *recorder) report() (length, dropped time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return samplesTime(r.data / int64(2*r.format().SampleBytes())), samplesTime(r.dropped), r.err
}

// flush writes what is sealed and then a header that counts it, so that the file is true whenever the process dies.
// After an error the rest is discarded and the file stays as it is.
func (r *recorder) flush(scratch []byte) {
	from, to := r.written.Load(), r.sealed.Load()
	if to <= from {
		return
	}
	r.open()
	for from < to {
		at := from % recFrames
		n := min(to-from, recFrames-at)
		pairs := r.ring[2*at : 2*(at+n)]
		if r.err == nil {
			r.write(pairs, scratch)
		}
		for i := range pairs {
			pairs[i] = r.quiet
		}
		from += n
		r.written.Store(from)
	}
	r.head()
}

// open makes the file, readable by its owner alone: a recording is personal data.
func (r *recorder) open() {
	if r.file != nil || r.err != nil {
		return
	}
	if err := os.MkdirAll(filepath.Dir(r.path), 0o750); err != nil {
		r.err = fmt.Errorf("folder of the recording: %w", err)
		return
	}
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		r.err = fmt.Errorf("recording: %w", err)
		return
	}
	r.file = f
	r.head()
}

func (r *recorder) write(pairs, scratch []byte) {
	if !r.pcm16 {
		r.append(pairs)
		return
	}
	var pcm [256]int16
	for len(pairs) > 0 {
		n := min(len(pairs), len(pcm))
		if r.law == kindPCMU {
			audio.DecodeULaw(pcm[:], pairs[:n])
		} else {
			audio.DecodeALaw(pcm[:], pairs[:n])
		}
		b := scratch[:0]
		for _, v := range pcm[:n] {
			b = binary.LittleEndian.AppendUint16(b, uint16(v))
		}
		r.append(b)
		pairs = pairs[n:]
	}
}

func (r *recorder) append(b []byte) {
	if r.err != nil {
		return
	}
	n, err := r.file.WriteAt(b, audio.WAVHeaderSize+r.data)
	pair := int64(2 * r.format().SampleBytes())
	r.data += int64(n) / pair * pair // a torn pair does not count
	if err != nil {
		r.err = fmt.Errorf("recording: %w", err)
	}
}

func (r *recorder) format() audio.WAVFormat {
	switch {
	case r.pcm16:
		return audio.WAVPCM16
	case r.law == kindPCMU:
		return audio.WAVULaw
	}
	return audio.WAVALaw
}

// head writes the header with the present length.
func (r *recorder) head() {
	if r.file == nil {
		return
	}
	var buf [audio.WAVHeaderSize]byte
	h := audio.AppendWAVHeader(buf[:0], r.format(), 2, audio.SampleRate, r.data)
	if _, err := r.file.WriteAt(h, 0); err != nil && r.err == nil {
		r.err = fmt.Errorf("recording: %w", err)
	}
}

// writer is the goroutine that owns the disk on behalf of all recorders.
type writer struct {
	wake    chan struct{}
	mu      sync.Mutex
	all     []*recorder
	scratch []byte
}

func newWriter() *writer {
	return &writer{wake: make(chan struct{}, 1), scratch: make([]byte, 0, 1024)}
}

func (w *writer) add(r *recorder) {
	w.mu.Lock()
	w.all = append(w.all, r)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run writes what has gathered until ctx ends; it sleeps when nothing is recorded.
func (w *writer) run(ctx context.Context) {
	tick := time.NewTicker(recScan)
	defer tick.Stop()
	var due []*recorder
	for {
		w.mu.Lock()
		idle := len(w.all) == 0
		due = due[:0]
		for _, r := range w.all {
			if r.sealed.Load()-r.written.Load() >= recFlush {
				due = append(due, r)
			}
		}
		w.mu.Unlock()
		for _, r := range due {
			r.mu.Lock()
			r.flush(w.scratch)
			r.mu.Unlock()
		}
		clear(due)
		if idle {
			tick.Stop()
			select {
			case <-w.wake:
				tick.Reset(recScan)
				continue
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// finish takes a recorder out and completes its file.
func (w *writer) finish(r *recorder) {
	w.mu.Lock()
	for i, o := range w.all {
		if o == r {
			last := len(w.all) - 1
			w.all[i], w.all[last] = w.all[last], nil
			w.all = w.all[:last]
			break
		}
	}
	w.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open() // a call without a frame has an empty recording, not a missing one
	r.flush(make([]byte, 0, 1024))
	giveRing(r.ring)
	r.ring = nil
	if r.file == nil {
		return
	}
	if err := r.file.Close(); err != nil && r.err == nil {
		r.err = fmt.Errorf("recording: %w", err)
	}
	r.file = nil
}
