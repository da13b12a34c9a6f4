package schedule

import (
	"testing"
	"time"
)

// TestPacer offers more than the line may take at uneven ticks and looks at every second of the result.
func TestPacer(t *testing.T) {
	t.Parallel()
	for _, cps := range []int{1, 2, 7, 10, 50, 333, 1000} {
		begin := time.Unix(1_700_000_000, 0)
		p := newPacer(cps, begin)
		var starts []time.Time
		now := begin
		for i := range 4000 {
			if n, next := p.allow(now); n > 0 {
				p.spend(n, now)
				for range n {
					starts = append(starts, now)
				}
			} else if !next.After(now) {
				t.Fatalf("cps %d: nothing may start at %v but the next time is %v", cps, now, next)
			} else if n, _ := p.allow(next); n == 0 {
				t.Fatalf("cps %d: foretold a start at %v, none may", cps, next)
			}
			now = now.Add(time.Duration(1+i%23) * time.Millisecond)
		}
		for i, s := range starts {
			if i >= cps && s.Sub(starts[i-cps]) < time.Second {
				t.Fatalf("cps %d: %d starts within %v", cps, cps+1, s.Sub(starts[i-cps]))
			}
		}
		took := now.Sub(begin) - time.Second // the first second is held back
		if want := took.Seconds() * float64(cps) * 0.95; float64(len(starts)) < want-1 {
			t.Errorf("cps %d: only %d starts in %v, want at least %.0f", cps, len(starts), took, want)
		}
		if first := starts[0].Sub(begin); first < time.Second {
			t.Errorf("cps %d: the first start after %v: the second before the takeover is not known", cps, first)
		}
	}
	if n, _ := newPacer(0, time.Unix(0, 0)).allow(time.Unix(0, 0)); n < 1e6 {
		t.Errorf("no CPS means no limit, got %d", n)
	}
}

func TestLineHealth(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1_700_000_000, 0)
	minute := func(m float64) time.Time { return begin.Add(time.Duration(m * float64(time.Minute))) }
	var h lineHealth
	fail := func(n int, started, now time.Time) (downs int) {
		for range n {
			if down, up := h.note(true, started, now); up {
				t.Fatal("a fault brought the line up")
			} else if down {
				downs++
			}
		}
		return downs
	}
	if fail(9, begin, begin) != 0 || h.out {
		t.Fatal("out after nine faults")
	}
	h.note(false, minute(0), minute(0))
	if fail(9, begin, begin) != 0 {
		t.Fatal("the row did not end with a good call")
	}
	// A call that left before the row began ends well: it says nothing.
	h.note(false, minute(-5), minute(0.1))
	if fail(1, begin, begin) != 1 || !h.out || !h.until.Equal(minute(1)) {
		t.Fatalf("not out for a minute after ten in a row: %+v", h)
	}
	// Calls that left before it was taken out do not lengthen the pause.
	if fail(20, minute(0.01), minute(0.5)); !h.until.Equal(minute(1)) {
		t.Fatalf("late faults moved the pause: %+v", h)
	}
	// One call on trial is enough to go out again, for twice as long, without a second event.
	now := minute(1)
	for _, want := range []time.Duration{2, 4, 8, 15, 15} {
		if fail(1, now, now) != 0 || h.until.Sub(now) != want*time.Minute {
			t.Fatalf("pause %v, want %d min", h.until.Sub(now), want)
		}
		now = h.until
	}
	if _, up := h.note(false, now, now); !up || h.out {
		t.Fatal("a good call on trial did not bring the line up")
	}
	if fail(9, now, now) != 0 {
		t.Fatal("the row did not start over")
	}
	if fail(1, now, now) != 1 || h.until.Sub(now) != time.Minute {
		t.Fatal("the pause did not start over")
	}
}
