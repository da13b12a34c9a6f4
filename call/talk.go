package call

import (
	"encoding/json"
	"sync/atomic"
	"time"

	"waihu"
	"waihu/agent"
	"waihu/audio"
	"waihu/media"
)

// talk joins the conversation to the packet clock: it is the session's App, runs on the media
// thread, and tells the call's goroutine once when the agent has finished.
type talk struct {
	script *agent.Script
	ears   agent.Recognizer
	// over is closed on the media thread when the agent has ended the conversation.
	over    chan struct{}
	stopped atomic.Bool

	// owned by the media thread until the session is closed
	conv  *agent.Conversation
	done  bool
	spent int64 // ms of media time that the conversation has lived through
	shift int64 // ms by which media time is ahead of it
	gaps  []gap
}

// gap is a moment of the conversation at which media time went on without it: a hold, a stall of the machine.
type gap struct{ at, shift int64 }

// maxGaps bounds what a far end that toggles hold can make us keep; beyond it the last gap grows.
const maxGaps = 64

func newTalk(s *agent.Script, ears agent.Recognizer) *talk {
	return &talk{script: s, ears: ears, over: make(chan struct{}), conv: s.Start(ears), gaps: make([]gap, 0, maxGaps)}
}

// Frame implements media.App.
func (t *talk) Frame(f *media.Frame) bool {
	if t.done || t.stopped.Load() || f.Held { // a callee that holds the call hears nothing: the talk waits
		return false
	}
	t.follow(f.Time.Milliseconds())
	spoke := t.conv.Frame(f.In, f.Lost, f.Digit, f.Out)
	if t.conv.Done() {
		t.done = true
		close(t.over)
	}
	return spoke
}

// follow keeps the way from the conversation's own time to the recording's.
func (t *talk) follow(now int64) {
	if ahead := now - t.spent; ahead != t.shift {
		t.shift = ahead
		if len(t.gaps) == maxGaps {
			t.gaps[maxGaps-1].shift = ahead
		} else {
			t.gaps = append(t.gaps, gap{t.spent, ahead})
		}
	}
	t.spent += audio.FrameMS
}

// recorded is where a moment of the conversation lies in the recording; one that ends something belongs before a gap.
func (t *talk) recorded(ms int64, ends bool) int64 {
	shift := int64(0)
	for _, g := range t.gaps {
		if g.at < ms || g.at == ms && !ends {
			shift = g.shift
		}
	}
	return ms + shift
}

// end says who ended the conversation and why. Only after over is closed: the media thread is done with it then.
func (t *talk) end() (waihu.Party, string) { return t.conv.End() }

// stop silences the agent: what follows is hang-up.
func (t *talk) stop() { t.stopped.Store(true) }

// report writes what the conversation has become into the outcome. Only after the session is closed.
func (t *talk) report(o *waihu.Outcome, spec *waihu.AgentSpec, why string) {
	t.conv.Close(o.HangupBy, why)
	o.Transcript = t.conv.Transcript()
	for i := range o.Transcript {
		turn := &o.Transcript[i]
		turn.FromMS, turn.ToMS = t.recorded(turn.FromMS, false), t.recorded(turn.ToMS, true)
		turn.ToMS = max(turn.FromMS, turn.ToMS) // a key is pressed in no time
	}
	o.Tags = t.conv.Tags()
	o.OptOut = t.conv.OptOut()
	o.Collected = t.conv.Collected()
	o.Recognizer = t.conv.Recognizer()
	if o.Disposition == waihu.Answered {
		facts := t.conv.Facts()
		o.Grade = agent.Grade(spec, facts)
		o.Facts, _ = json.Marshal(facts) // words and numbers of ours; without them a call cannot be graded again, no more
	}
}

// negotiator lets the dialog speak about media without knowing it.
type negotiator struct{ s *media.Session }

func (n negotiator) Negotiate(offer []byte) ([]byte, error) { return n.s.Reoffer(offer) }
func (n negotiator) Answered(answer []byte) error           { return n.s.Remote(answer) }
func (n negotiator) DTMF(digit rune)                        { n.s.InjectDTMF(byte(digit)) }

// mediaStats are the session's figures in the words of an outcome.
func mediaStats(s media.Stats) waihu.MediaStats {
	return waihu.MediaStats{
		Codec: s.Codec, Sent: s.Sent, Received: s.Received, Lost: s.Lost, Late: s.Late, Foreign: s.Foreign,
		JitterMS: milliseconds(s.Jitter), MaxGapMS: milliseconds(s.MaxGap), RTTMS: milliseconds(s.RTT),
		FirstRTP: s.FirstRTP.Milliseconds(), DTMF: s.DTMF, Underruns: s.Underruns,
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
