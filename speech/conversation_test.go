package speech

import (
	"math/rand/v2"
	"strings"
	"testing"

	"waihu"
	"waihu/agent"
	"waihu/audio"
)

// talk is a whole call's sound without a network: the agent's conversation on one side, a
// callee who speaks with subtitles on the other, A-law and lost packets between.
type talk struct {
	t     *testing.T
	c     *agent.Conversation
	rnd   *rand.Rand
	loss  float64
	say   []int16 // what the callee still has to send
	ms    int
	agent bool // the agent was heard in the last frame
	quiet int  // ms since it was heard
	out   [audio.FrameSamples]int16
	sent  []int16 // all of the agent's sound
	echo  float64 // part of it that comes back, 150 ms later
}

func newTalk(t *testing.T, loss float64, seed uint64) *talk {
	t.Helper()
	script, err := agent.Prepare(t.Context(), survey(t), nil, newSynth(t, Options{Espeak: "off"}))
	if err != nil {
		t.Fatal(err)
	}
	rec, err := NewSimRecognizer(&waihu.Trunk{URI: "sim:test"})
	if err != nil {
		t.Fatal(err)
	}
	return &talk{t: t, c: script.Start(rec), rnd: rand.New(rand.NewPCG(seed, 1)), loss: loss}
}

func (k *talk) frame() {
	var in, line [audio.FrameSamples]int16
	var code [audio.FrameSamples]byte
	for i := range in {
		in[i] = int16(k.rnd.IntN(17) - 8)
		if i < len(k.say) {
			in[i] += k.say[i]
		}
	}
	k.say = k.say[min(len(k.say), len(in)):]
	for i := range in {
		if at := len(k.sent) + i - 150*8; k.echo > 0 && at >= 0 {
			in[i] += int16(k.echo * float64(k.sent[at]))
		}
	}
	lost := k.rnd.Float64() < k.loss
	if !lost {
		audio.EncodeALaw(code[:], in[:])
		audio.DecodeALaw(line[:], code[:])
	}
	k.agent = k.c.Frame(line[:], lost, 0, k.out[:])
	k.sent = append(k.sent, k.out[:]...)
	k.quiet += audio.FrameMS
	if k.agent {
		k.quiet = 0
	}
	k.ms += audio.FrameMS
}

func (k *talk) until(what string, limit int, cond func() bool) {
	k.t.Helper()
	for end := k.ms + limit; !cond(); k.frame() {
		if k.ms >= end {
			k.t.Fatalf("at %d ms: no %s within %d ms; %+v", k.ms, what, limit, k.c.Transcript())
		}
	}
}

// says speaks the words in another voice than the agent's, with subtitles.
func (k *talk) says(text string) {
	voice := audio.Resample(shipped("不好意思没听清，完好请按一，不完好请按二。"), 8000, 9600) // lower and slower
	need := len([]rune(text)) * 2000                                      // 0.25 s a character
	k.say = audio.UnderSpeech(voice[:min(len(voice), need)], text, audio.ModemLevel)
}

func (k *talk) agentPaused() bool { return k.quiet >= 800 }

func (k *talk) words() string {
	var b strings.Builder
	for _, t := range k.c.Transcript() {
		b.WriteString(t.Who[:1] + ":" + t.Text + " ")
	}
	return b.String()
}

func TestCalleeIsUnderstood(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		says      []string
		tag, last string
		optOut    bool
	}{
		{[]string{"喂，你好", "嗯，没问题"}, "完好", "感谢您的接听，再见。", false},
		{[]string{"喂", "有一个角坏了"}, "破损", "感谢您的接听，再见。", false},
		{[]string{"喂", "我不需要这些，不要再打来了"}, "", "好的，不再打扰。", true},
		{[]string{"喂", "你们是哪个公司的", "不完好"}, "破损", "感谢您的接听，再见。", false},
	} {
		k := newTalk(t, 0, 7)
		k.until("ring off", 400, func() bool { return k.ms >= 300 })
		k.says(tc.says[0])
		k.until("opening", 3000, func() bool { return k.agent })
		for _, words := range tc.says[1:] {
			k.until("question", 15000, k.agentPaused)
			k.says(words)
			spoken := k.ms + len(k.say)/8
			k.until("answer", 6000, func() bool { return k.agent })
			if gap := k.ms - spoken; gap > 1000 {
				t.Errorf("%q: answered %d ms after the last sound", words, gap)
			}
		}
		k.until("end", 20000, k.c.Done)
		words := k.words()
		if !strings.HasSuffix(words, "a:"+tc.last+" ") || k.c.OptOut() != tc.optOut {
			t.Errorf("%v: %s", tc.says, words)
		}
		if tags := strings.Join(k.c.Tags(), ","); tags != tc.tag {
			t.Errorf("%v: tags %s", tc.says, tags)
		}
		for _, said := range tc.says {
			if !strings.Contains(words, "c:"+said+" ") {
				t.Errorf("%q is not in the transcript: %s", said, words)
			}
		}
		if k.c.Recognizer() != "sim-subtitle" {
			t.Errorf("recognizer %q", k.c.Recognizer())
		}
	}
}

// A word of assent while the agent speaks is not an interruption; a protest is, at once.
func TestBackchannelAndProtest(t *testing.T) {
	t.Parallel()
	k := newTalk(t, 0, 3)
	k.until("opening", 3000, func() bool { return k.agent })
	k.until("a second of it", 1500, func() bool { return k.ms > 2200 })
	k.says("嗯")
	k.until("question", 15000, func() bool { return k.quiet > 1500 })
	if tr := k.c.Transcript(); len(tr) != 1 || tr[0].Barged {
		t.Errorf("after 嗯: %+v", tr)
	}

	k = newTalk(t, 0, 4)
	k.until("opening", 3000, func() bool { return k.agent })
	k.until("a second of it", 1500, func() bool { return k.ms > 2200 })
	k.says("别打了，我不需要")
	k.until("end", 12000, k.c.Done)
	if !k.c.OptOut() || !k.c.Transcript()[0].Barged {
		t.Errorf("after a protest: %s", k.words())
	}
}

// A wish never to be called again counts in the middle of the goodbye too.
func TestProtestIntoTheGoodbye(t *testing.T) {
	t.Parallel()
	k := newTalk(t, 0, 5)
	k.until("question", 20000, func() bool { return k.quiet > 1000 && k.ms > 4000 })
	k.says("没问题")
	k.until("goodbye", 5000, func() bool { return k.agent })
	k.says("别打了")
	k.until("end", 15000, k.c.Done)
	if !k.c.OptOut() || !strings.HasSuffix(k.words(), "c:别打了 a:好的，不再打扰。 ") {
		t.Error(k.words())
	}
}

// Under loss words go missing as with any recogniser, but none is made up, and every call comes to its end.
func TestUnderLoss(t *testing.T) {
	t.Parallel()
	right := 0
	const calls = 25
	for seed := range uint64(calls) {
		k := newTalk(t, 0.05, seed)
		k.until("opening", 3000, func() bool { return k.agent })
		for said := false; !k.c.Done(); k.frame() {
			if k.ms > 120000 {
				t.Fatalf("seed %d: no end: %s", seed, k.words())
			}
			if k.agentPaused() && len(k.say) == 0 && !said {
				k.says("有一个角坏了")
				said = true
			}
			said = said && (!k.agent || len(k.say) > 0)
		}
		for _, turn := range k.c.Transcript() {
			for _, r := range turn.Text {
				if turn.Who == "callee" && !strings.ContainsRune("有一个角坏了，", r) {
					t.Errorf("seed %d: made up %q", seed, turn.Text)
				}
			}
		}
		if strings.Join(k.c.Tags(), "") == "破损" {
			right++
		}
	}
	t.Logf("%d of %d calls understood", right, calls)
	if right < calls*8/10 {
		t.Errorf("%d of %d calls understood at 5 %% loss", right, calls)
	}
}

// The agent's own voice comes back at -20 to -6 dB: it neither interrupts nor answers itself,
// and it still hears the callee.
func TestOwnEcho(t *testing.T) {
	t.Parallel()
	for _, echo := range []float64{0.1, 0.25, 0.5} {
		k := newTalk(t, 0, 11)
		k.echo = echo
		k.until("opening", 3000, func() bool { return k.agent })
		k.until("question", 15000, func() bool { return k.quiet > 2000 })
		if tr := k.c.Transcript(); len(tr) != 1 || tr[0].Barged {
			t.Errorf("echo %.2f: %+v", echo, tr)
			continue
		}
		k.says("没问题")
		k.until("goodbye", 5000, func() bool { return k.agent })
		k.until("end", 20000, k.c.Done)
		if words := k.words(); !strings.HasSuffix(words, "c:没问题 a:感谢您的接听，再见。 ") {
			t.Errorf("echo %.2f: %s", echo, words)
		}
	}
}

// The callee interrupts for good although the agent's voice comes back too.
func TestInterruptionOverEcho(t *testing.T) {
	t.Parallel()
	k := newTalk(t, 0, 12)
	k.echo = 0.1
	k.until("opening", 3000, func() bool { return k.agent })
	k.until("two seconds of it", 3000, func() bool { return k.ms > 3200 })
	k.says("有一个角坏了破损了")
	k.until("silence of the agent", 2500, func() bool { return k.quiet > 400 })
	k.until("end", 20000, k.c.Done)
	if tr := k.c.Transcript(); !tr[0].Barged || strings.Join(k.c.Tags(), "") != "破损" {
		t.Errorf("%+v", tr)
	}
}
