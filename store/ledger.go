package store

import (
	"time"

	"waihu"
)

// This file is the owner's vocabulary: what schedule hands to Tick and gets back.

// LiveCall is a committed dial intent that has not been booked.
type LiveCall struct {
	Call      waihu.CallID
	Account   waihu.AccountID
	Task      waihu.TaskID
	Run       int
	Seq       int64
	Attempt   int // names this dial; from 1
	Redials   int // redials spent before this dial
	Faults    int // carrier's or own faults in a row before this dial
	Line      waihu.LineID
	Phone     waihu.PhoneNumber
	Caller    waihu.PhoneNumber // chosen by the task; empty: the line's turn
	StartedAt time.Time
	Node      string
	Agent     waihu.AgentID
}

// Booking is the end of a live call and what becomes of its number.
type Booking struct {
	LiveCall
	Outcome *waihu.Outcome
	Next    waihu.NumberState // NumberDone, NumberDue, or NumberFresh (undone before it was ever dialled)
	Due     time.Time         // with NumberDue
	Undo    bool              // provably never left: the attempt is undone and the call row marked NeverLeft
	Redial  bool              // this end spends one redial
	Status  waihu.Disposition // what the number shows; NoOutcome: the outcome's disposition
	// Review: agent or task want an answered call to be looked at afterwards. A job waihu.JobReview is added in the same
	// commit, and the call.ended event says so.
	Review       bool
	AgentVersion int64 // AgentSpec.VersionID with which it is reviewed; 0: the newest
}

// RunRef names a run.
type RunRef struct {
	Task waihu.TaskID
	Run  int
}

// RunClose closes a run and stops its task.
type RunClose struct {
	Task   waihu.TaskID
	Run    int
	Reason waihu.RunReason
	Detail string
}

// Pop asks for up to Limit numbers of a task's open run.
type Pop struct {
	Task       waihu.TaskID
	Account    waihu.AccountID
	Run        int
	Order      waihu.PopOrder
	NewFirst   bool // fresh numbers before due ones
	Fresh, Due bool // which of the two may be popped
	Limit      int
	// Decide is called once per number, in order, inside the transaction: it must be quick and
	// must not touch the store. A tick that fails is as if it had never been called.
	Decide func(PoppedNumber) Decision
}

// PoppedNumber is a number about to be dialled.
type PoppedNumber struct {
	Seq        int64
	Phone      waihu.PhoneNumber
	Data       waihu.NumberData
	Attempt    int // of this dial, from 1
	Redials    int
	Faults     int
	Suppressed bool
	Due        bool // it came from the due arm
}

// Decision is what becomes of a popped number.
type Decision struct {
	Dial  bool
	Line  waihu.LineID
	Agent waihu.AgentID
	// Version is the row id of the agent's version that will talk; 0: not known.
	Version int64
	// Caller is the caller number that the task has chosen; the zero Caller leaves it to the line.
	Caller waihu.Caller
	Node   string
	// Outcome, when not dialled: the number is done with it. NoOutcome puts it back unchanged.
	Outcome waihu.Disposition
}

// Tick is one transaction of a shard's owner: fence, book, close, pop, dial intents, commit.
type Tick struct {
	Shard    int
	Epoch    int64
	Owner    string
	Now      time.Time
	Lease    time.Time // zero: not renewed in this tick
	Book     []Booking
	Close    []RunClose
	End      []RunRef // closed runs to look at again; runs touched by Book and Close are looked at anyway
	Pops     []Pop
	Events   []waihu.Event // further events, such as line.down; N and TaskN are given here
	Jobs     []waihu.Job   // further jobs; a job whose kind and key exist already is left as it is
	NextCall func() (waihu.CallID, bool)
}

// Dialled is a committed dial: the order may leave.
type Dialled struct {
	LiveCall
	Data waihu.NumberData
}

// TaskGauge is what is left to dial.
type TaskGauge struct {
	Fresh, Due int
	NextDue    time.Time // of the earliest due number; zero when none is due
}

// TickResult is what a committed tick did.
type TickResult struct {
	Dials     []Dialled // in commit order
	Booked    []waihu.CallID
	Refused   int                        // dials that calls_once refused: the number ended as Unknown instead
	Exhausted map[waihu.TaskID]bool      // the pop found fewer than Limit numbers
	NotOpen   map[waihu.TaskID]bool      // the pop's run had been closed by somebody else: nothing was popped
	Closed    []RunRef                   // of the tick's Close, those that closed: RunDone closes nothing while numbers are left
	Ended     []RunRef                   // runs that ended in this tick
	Gauges    map[waihu.TaskID]TaskGauge // of every popped or booked task
}

// OwnedTask is what the owner must know of a task that is started or has a run that has not ended.
type OwnedTask struct {
	Task     waihu.Task
	Runs     []waihu.Run // those that have not ended, by number
	Gauge    TaskGauge
	Lines    []waihu.Line         // usable by the task: the named ones, those of the named callers, or all of the account
	Reserved map[waihu.LineID]int // held for the task, over all its runs; empty when it names no line
	// Callers are the usable ones among the caller numbers that the task names, by line, in its order.
	Callers map[waihu.LineID][]waihu.Caller
}

// Lines above holds rows whatever their state: Usable and the caps are the caller's to judge, at its own now.

// NewNumber is one imported row.
type NewNumber struct {
	Key   string // unique in the task; empty: the phone number
	Phone waihu.PhoneNumber
	Data  waihu.NumberData
}

// ImportReport says what became of imported rows.
type ImportReport struct {
	Added, Revived, Duplicates int
	DuplicateRows              []int // indexes into the batch
}

// NumberFilter chooses numbers; zero fields do not restrict. Removed numbers are never found.
type NumberFilter struct {
	Status      []waihu.Disposition // what the number shows
	States      []waihu.NumberState
	Phones      []string // phone numbers or keys
	CreatedFrom time.Time
	CreatedTo   time.Time // inclusive
	Page        int       // from 1; 0 means 1
	PerPage     int       // 0 means 15, at most 5000
}

// CallFilter chooses calls; zero fields do not restrict.
type CallFilter struct {
	Scores      [][2]int64 // ranges of the score of the check after the call, both ends included; a call without one has 0
	Phone       string     // number dialled or its key
	Seq         int64
	Outcomes    []waihu.Disposition
	Grades      []string
	StartedFrom time.Time
	StartedTo   time.Time // inclusive
	EndedFrom   time.Time
	EndedTo     time.Time // inclusive
	Ended       bool      // only calls that have ended
	Page        int
	PerPage     int
}

// Counts is where a task stands.
type Counts struct {
	State       [5]int                    // numbers by waihu.NumberState
	Status      map[waihu.Disposition]int // numbers by what they show; between times: calls ended by outcome
	Intention   map[string]int            // numbers by grade; between times: calls
	Rounds      map[string]int            // answered calls by rounds of conversation: "1", "2~5", "6~10", "11~20", ">20"
	Answered    int                       // of Status
	NotAnswered int                       // of Status, the rest that was dialled
	Started     int                       // calls begun that left or may have left
	TalkTime    time.Duration             // only between times
	Hits        int                       // answered calls in which an answer to one of the agent's questions was found
	Reviewing   int                       // calls whose review is still to come
}

// Suppression is a number that must not be called.
type Suppression struct {
	Phone  waihu.PhoneNumber
	Since  time.Time
	Reason string
	Call   waihu.CallID
}
