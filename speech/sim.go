package speech

import (
	"waihu"
	"waihu/agent"
	"waihu/audio"
)

// SimName marks transcripts that SimRecognizer made.
const SimName = "sim-subtitle"

// simQuiet is how many frames without a piece in the air end an utterance whose end was lost:
// between two pieces the next sync word needs five.
const simQuiet = 6

// SimRecognizer reads what a simulated callee says out of the callee's own audio. Text arrives only if
// signalling, RTP, codec and timing work: a broken path makes it deaf, as it would any recogniser.
// It belongs to one call's media thread and allocates only when a piece of text arrives.
type SimRecognizer struct {
	modem    *audio.ModemDecoder
	text     string
	finalize bool
	quiet    int // frames since a piece was in the air
	out      []agent.Heard
}

// NewSimRecognizer makes a recogniser for a call on the trunk, which must be the simulated carrier.
func NewSimRecognizer(trunk *waihu.Trunk) (*SimRecognizer, error) {
	if !trunk.Simulated() {
		return nil, waihu.FieldErrorf("listen.asr", "asr: sim works only on a sim: line; real callees send no subtitles")
	}
	return &SimRecognizer{modem: audio.NewModemDecoder(), out: make([]agent.Heard, 0, 4)}, nil
}

// RecognizerFor is the recogniser that an agent gets on a trunk: the subtitles of a simulated
// callee on sim: lines, nothing (nil, no error) elsewhere, where speech is mere speech. An agent that asks for a service
// by name, or for sim on a real line, is refused with an EInvalid error.
func RecognizerFor(spec *waihu.AgentSpec, trunk *waihu.Trunk) (agent.Recognizer, error) {
	switch asr := spec.Listen.ASR; {
	case asr == "sim" || asr == "" && trunk.Simulated():
		r, err := NewSimRecognizer(trunk)
		if err != nil {
			return nil, err // not r: a nil pointer in an interface is not nil
		}
		return r, nil
	case asr == "" || asr == "none":
		return nil, nil
	default:
		return nil, waihu.FieldErrorf("listen.asr", "the recogniser %q is not part of this version: leave listen.asr out, or use sim on a sim: line", asr)
	}
}

// Name is SimName.
func (r *SimRecognizer) Name() string { return SimName }

// Frame implements agent.Recognizer.
func (r *SimRecognizer) Frame(pcm []int16, lost bool) []agent.Heard {
	r.out = r.out[:0]
	for _, p := range r.modem.Frame(pcm, lost) {
		if p.Type == audio.PieceLabel {
			r.out = append(r.out, agent.Heard{Text: p.Text(), Noise: true})
			continue
		}
		r.text += p.Text()
		final := p.Type == audio.PieceEnd
		r.out = append(r.out, agent.Heard{Text: r.text, Final: final})
		if final {
			r.text, r.finalize = "", false
		}
	}
	if r.modem.Busy() {
		r.quiet = 0
	} else {
		r.quiet++
	}
	if r.finalize && r.quiet >= simQuiet {
		r.out = append(r.out, agent.Heard{Text: r.text, Final: true})
		r.text, r.finalize = "", false
	}
	return r.out
}

// Finalize implements agent.Recognizer: a piece that is in the air is waited for.
func (r *SimRecognizer) Finalize() { r.finalize = true }
