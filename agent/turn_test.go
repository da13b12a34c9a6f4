package agent

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"waihu"
)

// phone plays the callee against a conversation, frame by frame.
type phone struct {
	t     testing.TB
	c     *Conversation
	frame int
	out   []int16
	heard []int16 // all that the agent sent
	voice []int16 // what the callee still has to say
	noise func() int16
	echo  func(heard []int16) []int16
}

func newPhone(t testing.TB, specJSON string, vars map[string]string, rec Recognizer) *phone {
	t.Helper()
	s, err := Prepare(context.Background(), spec(t, specJSON), vars, toneSounds{})
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(5, 6))
	return &phone{t: t, c: s.Start(rec), out: make([]int16, FrameSamples), noise: func() int16 { return int16(rnd.IntN(17) - 8) }}
}

// step runs one frame and says whether the agent was heard in it.
func (p *phone) step(digit byte) bool {
	in := make([]int16, FrameSamples)
	for i := range in {
		in[i] = p.noise()
		if i < len(p.voice) {
			in[i] += p.voice[i]
		}
	}
	p.voice = p.voice[min(len(p.voice), FrameSamples):]
	if p.echo != nil {
		for i, v := range p.echo(p.heard) {
			in[i] += v
		}
	}
	spoke := p.c.Frame(in, false, digit, p.out)
	p.heard = append(p.heard, p.out...)
	p.frame++
	return spoke
}

// ms is the media time.
func (p *phone) ms() int { return p.frame * frameMS }

// until runs frames until the condition holds, and fails after the limit.
func (p *phone) until(what string, limitMS int, cond func() bool) {
	p.t.Helper()
	for end := p.ms() + limitMS; !cond(); p.step(0) {
		if p.ms() >= end {
			p.t.Fatalf("%d ms: no %s within %d ms; transcript %+v", p.ms(), what, limitMS, p.c.Transcript())
		}
	}
}

func (p *phone) agentSpeaks() bool {
	for _, v := range p.out {
		if v != 0 {
			return true
		}
	}
	return false
}

// says gives the callee ms of voice.
func (p *phone) says(ms int) { p.voice = buzz(210, ms*8, 2500) }

// idle runs frames.
func (p *phone) idle(ms int) {
	for range ms / frameMS {
		p.step(0)
	}
}

func (p *phone) listens() bool { return p.c.state == listening && !p.c.callee.spoke }

func (p *phone) words() string {
	var b strings.Builder
	for _, t := range p.c.Transcript() {
		b.WriteString(t.Who[:1] + ":" + t.Text + t.Digit + " ")
	}
	return b.String()
}

func TestFirstWordAfterWait(t *testing.T) {
	t.Parallel()
	for _, wait := range []string{"0", "200", "1200", "3000"} {
		p := newPhone(t, strings.Replace(surveyJSON, `"wait_ms": 1200`, `"wait_ms": `+wait, 1), nil, nil)
		want := p.c.waits
		p.until("first word", want+40, p.agentSpeaks)
		if p.ms() <= want {
			t.Errorf("wait_ms %s: spoke at %d ms, too early", wait, p.ms())
		}
	}
}

func TestFirstWordAfterTheirs(t *testing.T) {
	t.Parallel()
	p := newPhone(t, surveyJSON, nil, nil)
	p.idle(300)
	p.says(500)
	ended := p.ms() + 500
	p.until("first word", 2000, p.agentSpeaks)
	// The words have ended when vadStopMS of silence say so.
	if late := p.ms() - ended - vadStopMS; late > 40 || late < -60 {
		t.Errorf("first word %d ms after the callee's had ended", late)
	}
	if tr := p.c.Transcript(); len(tr) != 1 || tr[0].Who != "callee" || tr[0].Why != "opening" {
		t.Errorf("transcript %+v", tr)
	}
}

func TestKeyBargesInAndCallEnds(t *testing.T) {
	t.Parallel()
	p := newPhone(t, surveyJSON, nil, nil)
	p.until("first word", 2000, p.agentSpeaks)
	p.idle(600)
	p.step('1')
	p.until("end", 10000, p.c.Done)
	by, reason := p.c.End()
	if by != waihu.ByAgent || reason != "hangup" {
		t.Errorf("ended by %s: %s", by, reason)
	}
	tr := p.c.Transcript()
	if len(tr) != 3 || !tr[0].Barged || tr[1].Digit != "1" || tr[1].Intent != "fine" || tr[2].Text != "感谢您的接听，再见。" {
		t.Fatalf("transcript %+v", tr)
	}
	full := "您好，您，请问昨天收到的货物完好吗？完好请按一，不完好请按二。"
	if !strings.HasPrefix(full, tr[0].Text) || len(tr[0].Text) > len(full)/2 || tr[0].Text == "" {
		t.Errorf("600 ms of the opening are %q", tr[0].Text)
	}
	if gap := int64(p.ms()) - tr[2].ToMS; gap < hangupDelayMS || gap > hangupDelayMS+2*frameMS {
		t.Errorf("hung up %d ms after the goodbye", gap)
	}
	if g := Grade(p.c.script.p.spec, p.c.Facts()); g != "A" {
		t.Errorf("grade %q", g)
	}
}

func TestSpeechWithoutRecognition(t *testing.T) {
	t.Parallel()
	// The fixture has no branch for speech: it is asked again, then the goodbye.
	p := newPhone(t, surveyJSON, nil, nil)
	for range 3 {
		p.until("question", 20000, func() bool { return p.c.state == listening })
		p.says(700)
		p.idle(900)
	}
	p.until("end", 20000, p.c.Done)
	if w := p.words(); strings.Count(w, "不好意思没听清") != 2 || !strings.HasSuffix(w, "再见。 ") {
		t.Error(w)
	}
	// A node with the branch takes it.
	p = newPhone(t, strings.Replace(surveyJSON, `{"on": "fine",`, `{"on": "speech", "tag": "spoke", "go": "bye"}, {"on": "fine",`, 1), nil, nil)
	p.until("question", 20000, func() bool { return p.c.state == listening })
	p.says(700)
	p.until("end", 20000, p.c.Done)
	if tags := p.c.Tags(); len(tags) != 1 || tags[0] != "spoke" {
		t.Errorf("tags %v", tags)
	}
}

func TestShortSoundPausesAndResumes(t *testing.T) {
	t.Parallel()
	p := newPhone(t, surveyJSON, nil, nil)
	p.until("first word", 2000, p.agentSpeaks)
	p.idle(1000)
	p.says(400)
	p.until("pause", 600, func() bool { return p.c.state == paused })
	at := p.c.pos
	p.step(0)
	p.until("resume", 2500, func() bool { return p.c.state == speaking })
	if back := at - (p.c.pos - FrameSamples); back < rewindMS*8-2*FrameSamples || back > rewindMS*8+2*FrameSamples {
		t.Errorf("resumed %d ms before the pause", back/8)
	}
	p.until("question", 20000, p.listens)
	if tr := p.c.Transcript(); len(tr) != 1 || tr[0].Barged {
		t.Errorf("transcript %+v", tr)
	}
}

func TestLongSpeechTakesTheTurn(t *testing.T) {
	t.Parallel()
	p := newPhone(t, surveyJSON, nil, nil)
	p.until("first word", 2000, p.agentSpeaks)
	p.idle(500)
	p.says(1500)
	began := p.ms()
	p.until("pause", 400, func() bool { return p.c.state != speaking })
	if took := p.ms() - began; took > pauseMSAfter+60 {
		t.Errorf("spoke on for %d ms", took)
	}
	p.until("reprompt", 3000, p.agentSpeaks)
	tr := p.c.Transcript()
	if len(tr) != 2 || !tr[0].Barged || tr[1].Why != "else 1 of 2" {
		t.Errorf("transcript %+v", tr)
	}
	if f := p.c.Facts(); f.Interrupted != 1 {
		t.Errorf("facts %+v", f)
	}
}

func TestProtectedStatementIsNotInterrupted(t *testing.T) {
	t.Parallel()
	p := newPhone(t, strings.Replace(surveyJSON, `"wait_ms": 1200`, `"wait_ms": 0, "protect_ms": 2000`, 1), nil, nil)
	p.idle(200)
	p.says(1500)
	for p.ms() < 1900 {
		if p.step(0); !p.agentSpeaks() && p.c.state != speaking {
			t.Fatalf("interrupted at %d ms", p.ms())
		}
	}
}

// The goodbye ends the call, whatever the callee says into it; a global intent still counts.
func TestGoodbyeEndsTheCall(t *testing.T) {
	t.Parallel()
	for _, talk := range []int{0, 300, 3000} {
		p := newPhone(t, surveyJSON, nil, nil)
		p.until("question", 20000, p.listens)
		p.step('1')
		p.until("goodbye", 2000, p.agentSpeaks)
		p.says(talk)
		p.until("end", 10000, p.c.Done)
		if by, _ := p.c.End(); by != waihu.ByAgent || !strings.Contains(p.words(), "a:感谢您的接听，再见。 ") {
			t.Errorf("talk of %d ms: ended by %q: %s", talk, by, p.words())
		}
	}
	p := newPhone(t, surveyJSON, nil, nil)
	p.until("question", 20000, p.listens)
	p.step('2')
	p.until("sorry", 2000, p.agentSpeaks)
	p.idle(200)
	p.step('9')
	p.until("end", 10000, p.c.Done)
	if !p.c.OptOut() || !strings.HasSuffix(p.words(), "c:9 a:好的，不再打扰。 ") {
		t.Error(p.words())
	}
}

func TestSilentCalleeIsAskedThenLeft(t *testing.T) {
	t.Parallel()
	p := newPhone(t, surveyJSON, nil, nil)
	p.until("question", 20000, p.listens)
	from := p.ms()
	p.until("reprompt", 6000, p.agentSpeaks)
	if waited := p.ms() - from; waited < defaultNoInputMS || waited > defaultNoInputMS+60 {
		t.Errorf("asked again after %d ms", waited)
	}
	p.until("end", 60000, p.c.Done)
}

func TestCalleeHangsUp(t *testing.T) {
	t.Parallel()
	p := newPhone(t, surveyJSON, nil, nil)
	p.until("first word", 2000, p.agentSpeaks)
	p.idle(500)
	p.c.Close(waihu.ByCallee, "bye")
	before := p.words()
	p.idle(8000)
	if by, reason := p.c.End(); by != waihu.ByCallee || reason != "bye" || p.words() != before || p.agentSpeaks() {
		t.Errorf("after the end: %s %s, %s", by, reason, p.words())
	}
	if !strings.HasPrefix(before, "a:您好") {
		t.Errorf("transcript %s", before)
	}
}

// An echo of our own sound is nobody's speech, at any delay and level; a callee who speaks over the echo is.
func TestEchoDoesNotBargeIn(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		delay int
		gain  float64
	}{{20, 1}, {60, 0.5}, {150, 0.1}, {303, 0.3}, {420, 0.1}} {
		p := newPhone(t, surveyJSON, nil, nil)
		p.echo = func(heard []int16) []int16 {
			out := make([]int16, FrameSamples)
			for i := range out {
				if at := len(heard) + i - tc.delay*8; at >= 0 && at < len(heard) {
					out[i] = int16(float64(heard[at]) * tc.gain)
				}
			}
			return out
		}
		p.until("question", 9000, func() bool { return p.c.state == listening })
		p.idle(1500)
		if tr := p.c.Transcript(); len(tr) != 1 || tr[0].Barged || p.c.state != listening || p.c.callee.spoke {
			t.Errorf("delay %d ms, gain %.1f: %+v, state %d", tc.delay, tc.gain, tr, p.c.state)
			continue
		}
		p.until("reprompt", 6000, p.agentSpeaks)
		if tc.gain == 1 {
			continue // a voice below a full echo is not to be told from it
		}
		p.idle(600)
		p.says(1500)
		p.until("barge-in over the echo", 1500, func() bool { return p.c.interrupted == 1 })
	}
}

func TestFrameAllocatesNothing(t *testing.T) {
	p := newPhone(t, surveyJSON, nil, nil)
	in := buzz(200, FrameSamples, 2000)
	quiet := make([]int16, FrameSamples)
	p.until("first word", 2000, p.agentSpeaks)
	n := 0
	if got := testing.AllocsPerRun(100, func() {
		n++
		if n%5 == 0 {
			p.c.Frame(in, false, 0, p.out)
		} else {
			p.c.Frame(quiet, n%7 == 0, 0, p.out)
		}
	}); got != 0 {
		t.Errorf("%v allocations a frame", got)
	}
}

func BenchmarkFrame(b *testing.B) {
	p := newPhone(b, surveyJSON, nil, nil)
	quiet := make([]int16, FrameSamples)
	b.ReportAllocs()
	for b.Loop() {
		p.c.now = 2000 // the talk never gets old
		p.c.Frame(quiet, false, 0, p.out)
	}
}

func BenchmarkFrameUnderEcho(b *testing.B) {
	p := newPhone(b, surveyJSON, nil, nil)
	in := buzz(200, FrameSamples, 2000)
	p.until("first word", 2000, p.agentSpeaks)
	p.idle(1500)
	b.ReportAllocs()
	for b.Loop() {
		p.c.echo.lastSound, p.c.echo.known, p.c.echo.agreed = p.c.echo.n, -1, 0 // the costly case: nothing known
		p.c.echo.heard(in, true)
	}
}

// A callee who never stops talking (a television) is asked as often as the flow says and left.
func TestEndlessTalkerIsLeft(t *testing.T) {
	t.Parallel()
	p := newPhone(t, surveyJSON, nil, nil)
	for ; !p.c.Done(); p.step(0) {
		if len(p.voice) < FrameSamples {
			p.says(5000)
		}
		if p.ms() > 4*maxTurnMS+30000 {
			t.Fatalf("no end: %s", p.words())
		}
	}
	if w := p.words(); !strings.HasSuffix(w, "a:感谢您的接听，再见。 c: ") && !strings.HasSuffix(w, "a:感谢您的接听，再见。 ") {
		t.Error(w)
	}
}
