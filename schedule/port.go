// Package schedule decides who is called when.
//
// One Scheduler owns one shard of the ledger. It books the outcomes of calls,
// pops numbers for the slots that are free and writes the dial intents, all in
// one transaction, the tick; only after the commit do the orders leave through
// the Dialer. Whether a number may be dialled now is a pure function of the
// ledger and the clock (windows, redial, routing, caps, pace), so the same code
// runs a campaign under virtual time.
//
// It guarantees: a number is never ordered twice for one attempt; live calls
// never pass the caps of task, line and task-line over all runs, also across a
// crash; a number's outcome, once given to Book, is kept until it is committed;
// nothing is dialled outside the window of its task.
//
// Book, Poke, Health and Drain may be called from any goroutine and never wait
// for the database (Drain waits for calls to end). Run, or Step under an
// injected clock, is the one loop and belongs to one goroutine. A slow database
// slows dialling and nothing else; while it fails nothing new is dialled,
// outcomes wait in memory (at most one for each live call) and Health says why.
//
// Test it with a store in a temporary folder, a Dialer that answers by itself,
// an injected Now, and Step.
package schedule

import (
	"context"

	"waihu"
)

// Dialer places calls; it is how the scheduler reaches the real-time half. All methods may be called concurrently.
type Dialer interface {
	// Place takes an order to dial and returns at once. Its outcome, exactly one, comes back through Scheduler.Book.
	// An error means refused: no INVITE has left or ever will, and no outcome follows.
	Place(waihu.Attempt) error
	// Lines is the present state of each line it carries; a line that is not in it takes no calls.
	Lines() map[waihu.LineID]waihu.LineState
	// EndOrphans ends on the wire the calls that a dead process left behind. It calls done once for each, from any goroutine,
	// when the far end has answered or 32 seconds (RFC 3261 timer B) have passed, and returns after the last or when ctx ends.
	EndOrphans(ctx context.Context, orphans []waihu.Orphan, done func(waihu.CallID))
}
