package carrier

import (
	"context"
	"sync"
	"time"
)

// pacer sends the packets of all calls from one goroutine.
type pacer struct {
	mu   sync.Mutex
	all  []*media // guarded by mu
	wake chan struct{}
}

// beat is how often the pacer looks who is due: packets leave at most so late on an idle machine.
const beat = 5 * time.Millisecond

func newPacer() *pacer { return &pacer{wake: make(chan struct{}, 1)} }

func (p *pacer) add(m *media) {
	p.mu.Lock()
	p.all = append(p.all, m)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pacer) remove(m *media) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, o := range p.all {
		if o == m {
			last := len(p.all) - 1
			p.all[i], p.all[last] = p.all[last], nil
			p.all = p.all[:last]
			return
		}
	}
}

// run paces until ctx ends. It sleeps while nobody sends.
func (p *pacer) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var round []*media
	for {
		p.mu.Lock()
		round = append(round[:0], p.all...)
		p.mu.Unlock()
		if len(round) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-p.wake:
				continue
			}
		}
		now := time.Now()
		for _, m := range round {
			m.tick(now)
		}
		clear(round)
		timer.Reset(time.Until(now.Add(beat)))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}
