package agent

import (
	"strings"
	"testing"
)

// toldRecognizer hears what the test tells it, whatever sounds.
type toldRecognizer struct{ next []Heard }

func (r *toldRecognizer) Name() string { return "told" }
func (r *toldRecognizer) Finalize()    { r.next = append(r.next, Heard{Final: true}) }
func (r *toldRecognizer) Frame([]int16, bool) []Heard {
	out := r.next
	r.next = nil
	return out
}

// A room full of voices from the first moment: the opening is neither put off for long nor cut by what went on before
// it, with and without recognition.
func TestBabbleFromTheFirstMoment(t *testing.T) {
	t.Parallel()
	for _, rec := range []Recognizer{nil, &toldRecognizer{}} {
		p := newPhone(t, surveyJSON, nil, rec)
		p.says(20_000)
		p.until("first word", p.c.waits+openingOverMS+40, p.agentSpeaks)
		if p.ms() <= p.c.waits+openingOverMS {
			t.Errorf("a callee who may still be talking was spoken over at %d ms", p.ms())
		}
		p.until("the end of the opening", 15_000, func() bool { return p.c.state != speaking })
		if p.c.state != listening || p.c.interrupted > 0 || !strings.Contains(p.words(), "请按二。") {
			t.Errorf("state %d, cut %d times: %s", p.c.state, p.c.interrupted, p.words())
		}
	}
}

// Whoever begins to talk during the opening, after the room was silent for a moment, has the turn as ever.
func TestBabbleDoesNotHideTheCallee(t *testing.T) {
	t.Parallel()
	p := newPhone(t, surveyJSON, nil, nil)
	p.says(p.c.waits + openingOverMS + 200)
	p.until("first word", p.c.waits+openingOverMS+40, p.agentSpeaks)
	p.idle(800)
	p.says(2000)
	p.until("the turn", commitMS+pauseMSAfter+200, func() bool { return p.c.state == listening })
	if p.c.interrupted != 1 {
		t.Errorf("cut %d times: %s", p.c.interrupted, p.words())
	}
}

// Where a recogniser listens, words end when no more of them come, though the room goes on; and they cut a sentence.
func TestWordsEndInBabble(t *testing.T) {
	t.Parallel()
	rec := &toldRecognizer{}
	p := newPhone(t, surveyJSON, nil, rec)
	p.says(8_000)
	p.idle(500)
	rec.next = []Heard{{Text: "喂", Final: true}}
	p.until("first word", wordlessMS+40, p.agentSpeaks)
	p.idle(400)
	rec.next = []Heard{{Text: "坏了", Final: true}}
	p.until("the turn", 100, func() bool { return p.c.state == listening })
	p.until("the answer", wordlessMS+defaultEndpointMS, p.agentSpeaks)
	if !strings.HasSuffix(p.words(), "c:坏了 ") {
		t.Error(p.words())
	}
}
