package media

import (
	"fmt"
	"runtime/debug"
	"time"

	"waihu/audio"
)

// tick is the session's work in its slot: read what came, let the App hear and speak, send.
func (s *Session) tick(c *clock) {
	now := c.slot * int64(slotLength)
	if !s.joined {
		s.joined, s.last, s.zero = true, c.slot-int64(slots), now
	}
	if missed := (c.slot-s.last)/int64(slots) - 1; missed > 0 {
		s.skip(missed)
	}
	s.last = c.slot
	if f := s.flow.Load(); f != s.cur {
		s.adopt(f)
	}
	s.receive(c)
	if s.start < 0 {
		if rec := s.begun.Load(); rec != nil {
			s.answer(rec)
		}
	}
	if s.start < 0 {
		s.ring(c)
	} else {
		s.talk(c)
	}
	s.pos += frameSamples
	s.tx.pace(s)
	if s.rec != nil {
		s.rec.seal(s.pos - s.start - recLate)
	}
	s.reportControl(c)
	s.watch()
}

// halfTick lets packets of 10 and 30 ms leave between two frames.
func (s *Session) halfTick(c *clock) {
	if s.joined {
		s.tx.pace(s)
	}
}

// skip advances all positions over frames that were missed while the machine stood still. What
// the far end sent meanwhile waits in the socket and keeps its place in the recording.
func (s *Session) skip(missed int64) {
	s.rx.discard(s.pos-s.rx.delay, s.pos-s.rx.delay+missed*frameSamples)
	s.pos += missed * frameSamples
	s.tx.skip()
	if s.start >= 0 {
		s.stats.Skipped += uint64(missed)
	}
	s.life += missed * frameSamples
}

// adopt begins to use what was newly agreed on.
func (s *Session) adopt(f *flow) {
	moved := s.cur == nil || s.cur.remote != f.remote
	wasHeld := s.cur != nil && !s.cur.expected
	s.cur = f
	if moved {
		s.rx.source.unlock()
		s.tx.target.set(f.remote)
		s.ctl.target.set(f.rtcp)
		s.ctl.learned = false
	}
	if wasHeld && f.expected {
		s.life = s.pos
	}
	s.tx.adopt(f)
}

// answer begins the media time.
func (s *Session) answer(rec *recorder) {
	s.start, s.life = s.pos, s.pos
	s.rx.answered(s.pos)
	if rec.path != "" {
		s.rec = rec
	}
}

// ring is a frame before the answer.
func (s *Session) ring(c *clock) {
	if s.rx.any {
		s.rx.frame(s, c.in[:])
		s.early.add(c.in[:], s.pos)
	}
	if s.cfg.EarlyRTP && s.sending() {
		silence(s.cur.law, s.tx.room(s))
	}
}

// talk is a frame of the conversation.
func (s *Session) talk(c *clock) {
	f := &s.frame
	lost := s.rx.frame(s, c.in[:])
	s.digits.hear(s, c.in[:])
	*f = Frame{In: c.in[:], Out: c.out[:], Lost: lost, Held: s.cur == nil || !s.cur.send, Digit: s.digits.next(), Time: samplesTime(s.pos - s.start)}
	spoke := s.cfg.App != nil && s.ask(f)
	if s.digits.pressing(s, c.out[:]) {
		spoke = true
	}
	if !s.sending() {
		return
	}
	out := s.tx.room(s)
	switch {
	case !spoke:
		silence(s.cur.law, out)
	case s.cur.law == kindPCMU:
		audio.EncodeULaw(out, c.out[:])
	default:
		audio.EncodeALaw(out, c.out[:])
	}
	if s.rec != nil {
		s.rec.put(recRight, s.pos-s.start, out, s.cur.law)
	}
}

// ask calls the App. One that panics ends its own call, not its neighbours'.
func (s *Session) ask(f *Frame) (spoke bool) {
	defer func() {
		if p := recover(); p != nil {
			s.cfg.App = nil
			s.eng.log.Error("the call's agent failed", "panic", p, "stack", string(debug.Stack()))
			s.fail(fmt.Errorf("the call's agent failed: %v", p))
		}
	}()
	return s.cfg.App.Frame(f)
}

// sending says whether there is someone who wants to hear us.
func (s *Session) sending() bool { return s.cur != nil && s.cur.send && s.tx.target.ap.IsValid() }

// watch ends a call whose far end has fallen silent.
func (s *Session) watch() {
	if s.start < 0 || s.cfg.MediaTimeout < 0 {
		return
	}
	if s.cur == nil || !s.cur.expected {
		s.life = s.pos
		return
	}
	limit := s.cfg.MediaTimeout
	if !s.heard {
		limit *= 2
	}
	if samplesTime(s.pos-s.life) > limit && !s.failed.Load() {
		s.fail(fmt.Errorf("%w for %v", ErrMediaTimeout, limit.Round(time.Millisecond)))
	}
}

// silence fills b with the law's code for nothing.
func silence(law kind, b []byte) {
	code := byte(audio.SilenceALaw)
	if law == kindPCMU {
		code = audio.SilenceULaw
	}
	for i := range b {
		b[i] = code
	}
}
