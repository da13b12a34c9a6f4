package call

import "testing"

// TestTurnsLieWhereTheyWereRecorded: a hold of two seconds and a stall move what follows, not what went before.
func TestTurnsLieWhereTheyWereRecorded(t *testing.T) {
	t.Parallel()
	k := &talk{gaps: make([]gap, 0, maxGaps)}
	now := int64(0)
	frames := func(n int) {
		for range n {
			k.follow(now)
			now += 20
		}
	}
	frames(50) // 1 s
	now += 2000
	frames(25) // 0.5 s
	now += 60
	frames(25)
	for _, c := range []struct {
		ms   int64
		ends bool
		want int64
	}{{0, false, 0}, {980, false, 980}, {1000, true, 1000}, {1000, false, 3000}, {1200, true, 3200}, {1500, true, 3500}, {1500, false, 3560}, {1700, true, 3760}} {
		if got := k.recorded(c.ms, c.ends); got != c.want {
			t.Errorf("%d ms of the talk (an end: %v) lies at %d ms of the recording, want %d", c.ms, c.ends, got, c.want)
		}
	}
	for range 3 * maxGaps {
		now += 40
		frames(1)
	}
	if len(k.gaps) != maxGaps || k.recorded(k.spent, true) != now {
		t.Errorf("%d gaps are kept, the talk's end lies at %d, want %d", len(k.gaps), k.recorded(k.spent, true), now)
	}
}
