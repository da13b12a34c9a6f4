package schedule

import "time"

// pacer keeps a line at its CPS: never more than cps starts within any second, and never
// more than a tenth of a second's worth at once. It is the owner's and needs no lock.
type pacer struct {
	cps    int
	tokens int64       // may be spent at once, in token parts; whole numbers, so that a foretold time holds
	at     time.Time   // tokens are as of then
	starts []time.Time // the last cps starts, a ring: the oldest must be a second old
	head   int
}

// newPacer begins as if a full second had just been spent: what a dead process
// started in its last second is not in the ledger's rows that we read.
func newPacer(cps int, since time.Time) *pacer {
	p := &pacer{cps: cps, at: since, starts: make([]time.Time, cps)}
	for i := range p.starts {
		p.starts[i] = since
	}
	return p
}

// token is one start; a line earns cps parts of it each nanosecond.
const token = int64(time.Second)

// burst is what may leave at once: line spreads a tick's orders over at most 100 ms.
func (p *pacer) burst() int64 { return max(token, int64(p.cps)*token/10) }

// allow says how many calls may start at now, and when one may when none may.
func (p *pacer) allow(now time.Time) (n int, next time.Time) {
	if p.cps <= 0 {
		return 1 << 30, time.Time{}
	}
	p.fill(now)
	second := now.Add(-time.Second)
	for n < int(p.tokens/token) && n < p.cps && !p.starts[(p.head+n)%p.cps].After(second) {
		n++
	}
	if n > 0 {
		return n, time.Time{}
	}
	next = p.starts[p.head].Add(time.Second)
	if lack := token - p.tokens; lack > 0 {
		parts := int64(p.cps)
		if refill := p.at.Add(time.Duration((lack + parts - 1) / parts)); refill.After(next) {
			next = refill
		}
	}
	return 0, next
}

// spend books n starts at now.
func (p *pacer) spend(n int, now time.Time) {
	if p.cps <= 0 {
		return
	}
	p.fill(now)
	p.tokens -= int64(n) * token
	for range n {
		p.starts[p.head] = now
		p.head = (p.head + 1) % p.cps
	}
}

func (p *pacer) fill(now time.Time) {
	if d := now.Sub(p.at); d > 0 {
		p.tokens = min(p.burst(), p.tokens+int64(min(d, time.Second))*int64(p.cps))
		p.at = now
	}
}

const (
	faultRow    = 10 // faults in a row that take a line out
	faultPause  = time.Minute
	faultPauses = 15 * time.Minute // the pause doubles up to this
)

// lineHealth counts the faults in a row of one line. After its pause a line that is out
// is on trial: one call at a time, until one of them does not fail on the way.
type lineHealth struct {
	row   int
	since time.Time // start of the first call of the row
	pause time.Duration
	until time.Time // out until then
	out   bool      // out or on trial
}

// note books the end of a call that started at started. down and up say what changed.
func (h *lineHealth) note(fault bool, started, now time.Time) (down, up bool) {
	switch {
	case !fault:
		if h.row > 0 && started.Before(h.since) {
			return false, false // it left while the line was still well: says nothing of now
		}
		up = h.out
		*h = lineHealth{}
		return false, up
	case h.out && started.Before(h.until):
		return false, false // left before the line was taken out
	case h.row == 0:
		h.since = started
	}
	if h.row++; h.row < faultRow {
		return false, false
	}
	h.pause = min(max(h.pause*2, faultPause), faultPauses)
	h.until, down = now.Add(h.pause), !h.out
	h.out = true
	return down, false
}
