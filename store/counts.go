package store

import (
	"context"
	"strconv"
	"time"

	"waihu"
)

// Counts is where the task stands, from gauges alone: it costs the same for ten numbers and for ten million.
func (s *Store) Counts(ctx context.Context, account waihu.AccountID, task waihu.TaskID) (c Counts, err error) {
	err = s.read(ctx, func(t *tx) error {
		ref, err := t.findTask(account, task)
		if err != nil {
			return err
		}
		c, err = t.counts(ref)
		return err
	})
	return c, err
}

// CountsBetween is what happened in the minutes from from to to, both included, from the per-minute statistics.
func (s *Store) CountsBetween(ctx context.Context, account waihu.AccountID, task waihu.TaskID, from, to time.Time) (c Counts, err error) {
	err = s.read(ctx, func(t *tx) error {
		ref, err := t.findTask(account, task)
		if err != nil {
			return err
		}
		c = newCounts()
		if err := t.each(func(scan func(...any) error) error {
			var kind, code string
			var n int
			err := scan(&kind, &code, &n)
			c.add(kind, code, n)
			return err
		}, `select kind, code, sum(n) from stats where task = $1 and minute >= $2 and minute <= $3 group by kind, code`,
			ref.serial, from.UnixMilli()/60_000, to.UnixMilli()/60_000); err != nil {
			return err
		}
		c.derive()
		return nil
	})
	return c, err
}

func newCounts() Counts {
	return Counts{Status: map[waihu.Disposition]int{}, Intention: map[string]int{}, Rounds: map[string]int{}}
}

func (t *tx) counts(ref taskRef) (Counts, error) {
	c := newCounts()
	gauges, err := t.gaugeRows(ref)
	for k, n := range gauges {
		c.add(k.kind, k.code, n)
	}
	c.derive()
	return c, err
}

func (t *tx) gaugeRows(ref taskRef) (map[gaugeKey]int, error) {
	gauges := map[gaugeKey]int{}
	err := t.each(func(scan func(...any) error) error {
		k := gaugeKey{task: ref.serial}
		var n int
		err := scan(&k.kind, &k.code, &n)
		gauges[k] = n
		return err
	}, sqlReadCounts, ref.serial)
	return gauges, err
}

const sqlReadCounts = `select kind, code, n from counts where task = $1`

func (c *Counts) add(kind, code string, n int) {
	if n == 0 {
		return
	}
	number, _ := strconv.Atoi(code) // the codes of these kinds are numbers of ours
	switch kind {
	case gaugeState:
		c.State[number] += n
	case byOutcome:
		c.Status[waihu.Disposition(number)] += n
	case byGrade:
		c.Intention[code] += n
	case byRounds:
		c.Rounds[code] += n
	case statStarted:
		c.Started += n
	case gaugeCalls:
		c.Started += n
	case gaugeHits:
		c.Hits += n
	case gaugeReviews:
		c.Reviewing += n
	case statTalk:
		c.TalkTime += time.Duration(n) * time.Millisecond
	}
}

func (c *Counts) derive() {
	c.Answered = c.Status[waihu.Answered]
	for d, n := range c.Status {
		switch d {
		case waihu.NoOutcome, waihu.Answered, waihu.Blacklisted, waihu.Invalid, waihu.Expired: // of these the last three were never dialled
		default:
			c.NotAnswered += n
		}
	}
}

// numbers is how many numbers the task has, removed ones left out.
func (c *Counts) numbers() (n int) {
	for _, x := range c.State[:waihu.NumberRemoved] {
		n += x
	}
	return n
}
