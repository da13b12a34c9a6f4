package media

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// SessionConfig is what a call's media needs to know.
type SessionConfig struct {
	Local     netip.Addr    // what the far end is told in c=
	Bind      netip.Addr    // local address of the sockets; zero: the engine's
	Codecs    []string      // pcma, pcmu in order of preference; empty: both
	Ptime     time.Duration // offered packet length; 0: 20 ms
	EarlyRTP  bool          // send silence from the first remote description on, not only from the answer
	Recording string        // path of the WAV file; empty: none
	PCM16     bool          // record 16-bit samples instead of the codec's own
	App       App           // may be nil: silence

	// MediaTimeout ends the session when nothing is received for so long; 0: DefaultMediaTimeout,
	// negative: never. Before the first packet after the answer twice as long is allowed.
	MediaTimeout time.Duration
}

// Session is the media of one call.
type Session struct {
	// fixed at Open
	cfg   SessionConfig
	eng   *Engine
	port  int
	rtp   *socket
	rtcp  *socket
	done  chan error
	keys  chan byte // digits to press
	info  chan byte // digits that came another way
	cname string

	mu       sync.Mutex // guards what follows
	neg      negotiation
	clock    *clock // nil until joined
	closed   bool
	final    Stats
	answered bool

	// from the control side to the thread
	flow   atomic.Pointer[flow]
	begun  atomic.Pointer[recorder] // set by Start; an empty recorder when nothing is recorded
	failed atomic.Bool              // Done was told

	// owned by the clock's thread from join to leave, by Close afterwards
	slot   int
	cur    *flow
	joined bool  // the first tick was
	broken bool  // a tick panicked
	last   int64 // slot of the last tick
	zero   int64 // time of position 0, nanoseconds since base
	pos    int64 // position in samples of the frame that the next tick begins
	start  int64 // position of the answer, -1 before
	rec    *recorder
	frame  Frame
	stats  Stats
	life   int64 // position of the last sign of life
	heard  bool  // a packet came after the answer
	rx     receiver
	tx     sender
	ctl    control
	digits digits

	early earlyClip
}

// Open takes a pair of ports for a call.
func (e *Engine) Open(cfg SessionConfig) (*Session, error) {
	if cfg.Ptime == 0 {
		cfg.Ptime = frameLength
	}
	if !canSend(cfg.Ptime) {
		return nil, fmt.Errorf("packet length %v: 10, 20, 30, 40 or 60 ms was expected", cfg.Ptime)
	}
	if !cfg.Local.IsValid() || cfg.Local.IsUnspecified() {
		return nil, fmt.Errorf("local media address %q: the address that the far end can reach was expected", cfg.Local)
	}
	cfg.Local = cfg.Local.Unmap()
	offered, err := formatsOf(cfg.Codecs)
	if err != nil {
		return nil, err
	}
	bind := cfg.Bind.Unmap()
	if !bind.IsValid() {
		bind = e.cfg.Bind.Unmap()
	}
	if !bind.IsValid() {
		bind = netip.IPv4Unspecified()
		if cfg.Local.Is6() {
			bind = netip.IPv6Unspecified()
		}
	}
	if bind.Is4() != cfg.Local.Is4() {
		return nil, fmt.Errorf("local media address %s and socket address %s are of different families", cfg.Local, bind)
	}
	if cfg.MediaTimeout == 0 {
		cfg.MediaTimeout = DefaultMediaTimeout
	}
	s := &Session{cfg: cfg, eng: e, start: -1, done: make(chan error, 1), keys: make(chan byte, 64), info: make(chan byte, 16)}
	if s.port, s.rtp, s.rtcp, err = e.bind(bind); err != nil {
		return nil, err
	}
	s.randomize()
	s.neg.offered = offered
	s.rx.init()
	return s, nil
}

// randomize draws what must not be guessed: sequence, timestamp, SSRC (RFC 3550 section 5.1) and
// the canonical name (RFC 7022 section 4.2).
func (s *Session) randomize() {
	var b [32]byte
	rand.Read(b[:])
	s.tx.seq = binary.LittleEndian.Uint16(b[0:])
	s.tx.base = binary.LittleEndian.Uint32(b[2:])
	s.tx.ssrc = binary.LittleEndian.Uint32(b[6:])
	s.ctl.random = binary.LittleEndian.Uint64(b[10:]) | 1
	s.neg.id = binary.LittleEndian.Uint64(b[18:]) >> 2 // some parsers want it below 2^63
	s.neg.version = s.neg.id
	var name [12]byte
	rand.Read(name[:])
	s.cname = base64.RawStdEncoding.EncodeToString(name[:])
}

// Port is the even port of the session's pair.
func (s *Session) Port() int { return s.port }

// joinLocked hands the session to a clock, once.
func (s *Session) joinLocked() {
	if s.clock != nil {
		return
	}
	s.clock = s.eng.leastLoaded()
	s.clock.calls.Add(1)
	s.clock.join(s)
}

// Start says that the call is answered: with the session's next slot media time begins. It does nothing
// when called again.
func (s *Session) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.answered {
		return
	}
	s.answered = true
	rec := &recorder{}
	if s.cfg.Recording != "" {
		law := kindPCMA
		if f := s.flow.Load(); f != nil {
			law = f.law
		}
		rec = newRecorder(s.cfg.Recording, law, s.cfg.PCM16)
		s.eng.writer.add(rec)
	}
	s.begun.Store(rec)
	s.joinLocked()
}

// Done gets the reason when the session cannot go on.
func (s *Session) Done() <-chan error { return s.done }

// fail tells the reason once.
func (s *Session) fail(err error) {
	if s.failed.CompareAndSwap(false, true) {
		s.done <- err
	}
}

// Close ends the session, completes the recording, gives the ports back and returns the session's
// figures. It may be called again.
func (s *Session) Close() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.final
	}
	s.closed = true
	if s.clock != nil {
		s.clock.leave(s)
	}
	s.sayBye()
	s.rtp.close()
	s.rtcp.close()
	s.eng.ports.give(s.port, time.Now())
	rec := s.rec
	if rec == nil { // answered, but no tick has come since
		rec = s.begun.Load()
	}
	if rec != nil && rec.path != "" {
		if s.start >= 0 {
			rec.seal(s.pos - s.start)
		}
		s.eng.writer.finish(rec)
		s.stats.Recorded, s.stats.RecordingDropped, s.stats.RecordingErr = rec.report()
	}
	s.final = s.report()
	return s.final
}

// report completes the figures after the thread has let go.
func (s *Session) report() Stats {
	st := s.stats
	if f := s.flow.Load(); f != nil {
		st.Codec = "pcma"
		if f.law == kindPCMU {
			st.Codec = "pcmu"
		}
	}
	s.rx.report(&st)
	st.RTT, st.RemoteLost = s.ctl.rtt, s.ctl.remoteLost
	st.DTMF = string(s.digits.all[:s.digits.nAll])
	st.RFactor = rFactor(st.Lost+st.Late, st.Received, st.RTT/2+time.Duration(s.rx.delay)*time.Second/8000)
	return st
}

// rFactor is the E-model of ITU-T G.107 with G.711's loss robustness (Bpl 4.3 without concealment,
// Ie 0, G.113) and the usual approximation of the delay term.
func rFactor(lost, received uint64, delay time.Duration) float64 {
	if received == 0 {
		return 0
	}
	loss := 100 * float64(lost) / float64(lost+received)
	d := float64(delay) / float64(time.Millisecond)
	r := 93.2 - 95*loss/(loss+4.3) - 0.024*d
	if d > 177.3 {
		r -= 0.11 * (d - 177.3)
	}
	return max(0, min(93.2, r))
}

// earlyClip keeps what was heard before the answer, as evidence.
type earlyClip struct {
	mu    sync.Mutex
	pcm   [][]int16 // pieces of a second
	n     int
	after time.Duration
}

const (
	earlyPiece = 8000
	earlyMost  = 15 * earlyPiece
)

// EarlyMedia is the sound before the answer.
type EarlyMedia struct {
	PCM   []int16       // at 8 kHz, at most 15 s, silence where packets were lost
	After time.Duration // from the first remote description to the first packet
}

// Early is what was received before the answer. It may be asked for after Close.
func (s *Session) Early() EarlyMedia {
	s.early.mu.Lock()
	defer s.early.mu.Unlock()
	m := EarlyMedia{After: s.early.after}
	for _, p := range s.early.pcm {
		m.PCM = append(m.PCM, p...)
	}
	return m
}

// add appends a frame. It allocates once a second, which only ringing calls with early media pay.
func (e *earlyClip) add(pcm []int16, at int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.n >= earlyMost {
		return
	}
	if e.n == 0 {
		e.after = samplesTime(at)
	}
	if e.n%earlyPiece == 0 {
		e.pcm = append(e.pcm, make([]int16, 0, earlyPiece))
	}
	last := len(e.pcm) - 1
	e.pcm[last] = append(e.pcm[last], pcm...)
	e.n += len(pcm)
}

// samplesTime is the length of n samples at 8 kHz.
func samplesTime(n int64) time.Duration { return time.Duration(n) * time.Second / 8000 }
