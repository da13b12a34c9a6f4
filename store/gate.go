package store

import "context"

// urgency is the queue in which a write waits for its turn.
type urgency int

const (
	urgent urgency = iota // the tick
	normal                // everything else, in order of arrival; bulk slices queue up again after each slice
	// relaxed waits as normal does, and its commit does not wait for the disk: what it wrote may be gone after a loss of power, as a
	// whole and never in part, but not after the death of the process. For what may be done again.
	relaxed
)

// gate lets at most n writers in at a time, urgent ones first. On SQLite n is 1.
// It is made of channels only, so waiting is visible to testing/synctest.
type gate struct {
	state chan *gateState // holds the one state; taking it is the lock
}

type gateState struct {
	free   int
	urgent []chan struct{}
	normal []chan struct{}
}

func newGate(n int) *gate {
	g := &gate{state: make(chan *gateState, 1)}
	g.state <- &gateState{free: n}
	return g
}

// enter waits for the turn, or for the context.
func (g *gate) enter(ctx context.Context, u urgency) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	st := <-g.state
	if st.free > 0 {
		st.free--
		g.state <- st
		return nil
	}
	turn := make(chan struct{})
	if u == urgent {
		st.urgent = append(st.urgent, turn)
	} else {
		st.normal = append(st.normal, turn)
	}
	g.state <- st
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	st = <-g.state
	gone := false
	st.urgent, gone = without(st.urgent, turn)
	if !gone {
		st.normal, gone = without(st.normal, turn)
	}
	g.state <- st
	if !gone { // the turn came at the same moment: pass it on
		g.leave()
	}
	return ctx.Err()
}

func (g *gate) leave() {
	st := <-g.state
	var next chan struct{}
	switch {
	case len(st.urgent) > 0:
		next, st.urgent = st.urgent[0], st.urgent[1:]
	case len(st.normal) > 0:
		next, st.normal = st.normal[0], st.normal[1:]
	default:
		st.free++
	}
	g.state <- st
	if next != nil {
		close(next)
	}
}

// urgentWaits says whether a tick waits: a bulk writer ends its slice then.
func (g *gate) urgentWaits() bool {
	st := <-g.state
	defer func() { g.state <- st }()
	return len(st.urgent) > 0
}

func without(list []chan struct{}, x chan struct{}) ([]chan struct{}, bool) {
	for i, c := range list {
		if c == x {
			return append(list[:i:i], list[i+1:]...), true
		}
	}
	return list, false
}
