package carrier

import "time"

// When says what a step of a callee's script waits for.
type When string

const (
	After     When = "after"      // After has passed since the step before
	AgentDone When = "agent_done" // the agent has spoken since the step before and was quiet for After
	Barge     When = "barge"      // the agent has been speaking for After
)

// Step is one line of a callee's script: a moment and one thing that the callee does then.
type Step struct {
	When   When
	After  time.Duration // AgentDone: 0 means 700 ms
	Limit  time.Duration // AgentDone, Barge: the step happens anyway when it has waited so long; 0 means 20 s
	Chance float64       // the step is passed over otherwise; 0 means always

	Say     string        // spoken, with its subtitle
	DTMF    string        // digits, by the way the callee's script uses
	Noise   time.Duration // a burst of noise, such as a cough
	Silence time.Duration // nothing for so long
	Hangup  bool
}

const (
	defaultQuiet = 700 * time.Millisecond
	defaultLimit = 20 * time.Second
)
