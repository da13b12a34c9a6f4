package call_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waihu"
	"waihu/audio"
	"waihu/call"
	"waihu/carrier"
)

// sound checks what holds for every outcome, whatever became of the call.
func sound(t tell, r *rig, o *waihu.Outcome) {
	t.Helper()
	last := time.Time{}
	for _, at := range []struct {
		name string
		time time.Time
	}{{"INVITE", o.InviteAt}, {"ringing", o.RingAt}, {"answer", o.AnswerAt}, {"end", o.EndAt}} {
		if at.time.IsZero() {
			continue
		}
		if at.time.Before(last) {
			t.Errorf("the %s came before what precedes it", at.name)
		}
		last = at.time
	}
	if o.EndAt.IsZero() || o.Disposition == waihu.NoOutcome || o.HangupBy == waihu.ByNobody {
		t.Errorf("no end: %v, %s, by %q", o.EndAt, o.Disposition, o.HangupBy)
	}
	if (o.Disposition == waihu.Answered) != !o.AnswerAt.IsZero() && o.Disposition != waihu.OurFault {
		t.Errorf("%s with answer at %v", o.Disposition, o.AnswerAt)
	}
	if len(o.Evidence) == 0 {
		t.Error("nothing to derive the outcome from")
	}
	for _, e := range o.Evidence {
		if span := o.EndAt.Sub(o.InviteAt).Milliseconds(); !o.InviteAt.IsZero() && (e.AtMS < 0 || e.AtMS > span+1) {
			t.Errorf("evidence %+v lies outside of the call's %d ms", e, span)
		}
	}
	talk := o.Talk().Milliseconds() + 100
	at := int64(0)
	for _, turn := range o.Transcript {
		if turn.FromMS > turn.ToMS || turn.ToMS > talk || turn.Who == "agent" && turn.FromMS < at {
			t.Errorf("turn %+v of a talk of %d ms, after %d", turn, talk, at)
		}
		if turn.Who == "agent" {
			at = turn.ToMS
		}
	}
	file := filepath.Join(r.deps.Recordings, filepath.FromSlash(o.Recording))
	if o.Recording == "" {
		return
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Errorf("the outcome names a recording: %v", err)
		return
	}
	wav, err := audio.ReadWAV(raw)
	if err != nil {
		t.Error(err)
		return
	}
	if length := int64(len(wav.Channels[0])) * 1000 / int64(wav.Rate); length > talk+100 || length < talk-700 {
		t.Errorf("the recording lasts %d ms, the talk %d ms", length, talk)
	}
}

// has says whether evidence of a kind holds a word.
func has(o *waihu.Outcome, kind, word string) bool {
	return slices.ContainsFunc(o.Evidence, func(e waihu.Evidence) bool { return e.Kind == kind && strings.Contains(e.Value, word) })
}

// TestTalk: callees answer by voice, by key and with a wish to be left alone.
func TestTalk(t *testing.T) {
	t.Parallel()
	// A machine that stands still for a moment may cost a word: whoever is asked again says it again.
	says := func(text string) []carrier.Step {
		reply := carrier.Step{When: carrier.AgentDone, Say: text}
		return []carrier.Step{{When: carrier.After, After: 300 * time.Millisecond, Say: "喂"}, reply, reply, reply}
	}
	c := startCarrier(t, func(o *carrier.Options) {
		o.Scripts = map[int][]carrier.Step{13: says("完好"), 80: says("坏了"), 81: says("别打了")}
	})
	r := newRig(t, nil)
	for _, k := range []struct {
		phone  waihu.PhoneNumber
		tags   []string
		grade  string
		optOut bool
		digits string
	}{
		{phone: "+99900000013", tags: []string{"fine"}, grade: "A"},
		{phone: "+99900000080", tags: []string{"broken"}, grade: "B"},
		{phone: "+99900000081", grade: "E", optOut: true},
		{phone: "+99900000350", tags: []string{"fine"}, grade: "A", digits: "1"},
		{phone: "+99900000651", tags: []string{"broken"}, grade: "B", digits: "2"},
		{phone: "+99900000363", tags: []string{"fine"}, grade: "A", digits: "1"},
	} {
		t.Run(string(k.phone), func(t *testing.T) {
			t.Parallel()
			spec, outer := agentOf(t, surveyAgent), t
			steady(t, c, func(t tell) {
				o := r.dial(outer.Context(), simTrunk(c), k.phone, spec, nil)
				sound(t, r, &o)
				if o.Disposition != waihu.Answered || o.HangupBy != waihu.ByAgent || !o.Simulated || o.Caller != "02160001000" {
					t.Errorf("%s by %q, simulated %v, caller %s", o.Disposition, o.HangupBy, o.Simulated, o.Caller)
				}
				if !slices.Equal(o.Tags, k.tags) || o.Grade != k.grade || o.OptOut != k.optOut || o.Media.DTMF != k.digits {
					t.Errorf("tags %v, grade %s, opt-out %v, digits %q; want %v, %s, %v, %q\n%+v", o.Tags, o.Grade, o.OptOut, o.Media.DTMF, k.tags, k.grade, k.optOut, k.digits, o.Transcript)
				}
				if o.Recording == "" || o.Recognizer == "" || o.Media.Codec == "" || o.Media.Sent == 0 || o.Media.Received == 0 || o.Media.Lost != 0 || len(o.Transcript) < 3 {
					t.Errorf("recording %q, recognizer %q, media %+v", o.Recording, o.Recognizer, o.Media)
				}
				if !has(&o, "sip", "200") || !has(&o, "end", "hangup") {
					t.Errorf("evidence %+v", o.Evidence)
				}
			})
		})
	}
}

// TestEndings: whatever ends a call is named, and nothing of the call is left.
func TestEndings(t *testing.T) {
	t.Parallel()
	leaves := []carrier.Step{{When: carrier.After, After: time.Second, Hangup: true}}
	c := startCarrier(t, func(o *carrier.Options) { o.Scripts = map[int][]carrier.Step{30: leaves, 14: leaves} })
	r := newRig(t, nil)
	free := r.engine.Free()
	t.Cleanup(func() {
		if n := r.engine.Free(); n != free {
			t.Errorf("%d pairs of ports are free, %d were", n, free)
		}
	})
	for _, k := range []struct {
		name     string
		suffix   string
		agent    string
		trunk    func(*waihu.Trunk)
		change   func(*call.Order)
		cancel   time.Duration // of the call's context; negative: before it begins
		want     waihu.Disposition
		by       waihu.Party
		evidence [2]string
		silent   bool // no recording
	}{
		{name: "agent", suffix: "13", agent: byeAgent, want: waihu.Answered, by: waihu.ByAgent, evidence: [2]string{"end", "hangup"}},
		{name: "callee", suffix: "30", want: waihu.Answered, by: waihu.ByCallee, evidence: [2]string{"reason", "cause=16"}},
		{name: "callee at once", suffix: "32", want: waihu.Answered, by: waihu.ByCallee, evidence: [2]string{"reason", "cause=16"}},
		{name: "longest call", suffix: "33", trunk: func(w *waihu.Trunk) { w.MaxCall = 1 }, want: waihu.Answered, by: waihu.BySystem, evidence: [2]string{"end", "longest call"}},
		{name: "media lost", suffix: "35", want: waihu.Answered, by: waihu.BySystem, evidence: [2]string{"end", "no media received for 15s"}},
		{name: "shutdown", suffix: "33", cancel: time.Second, want: waihu.Answered, by: waihu.BySystem, evidence: [2]string{"end", "shutting down"}},
		{name: "shutdown while it rings", suffix: "04", cancel: time.Second, want: waihu.OurFault, by: waihu.BySystem, evidence: [2]string{"cancel", "canceled by the caller"}, silent: true},
		{name: "shutdown, and an answer after it", suffix: "72", cancel: time.Second, want: waihu.OurFault, by: waihu.BySystem, evidence: [2]string{"sip", "200 after CANCEL"}, silent: true},
		{name: "shutdown before", suffix: "04", cancel: -1, want: waihu.NeverLeft, by: waihu.BySystem, evidence: [2]string{"error", "canceled"}, silent: true},
		{name: "ring timeout", suffix: "04", want: waihu.NoAnswer, by: waihu.BySystem, evidence: [2]string{"cancel", "ring timeout"}, silent: true},
		{name: "busy", suffix: "02", want: waihu.Busy, by: waihu.ByCallee, evidence: [2]string{"sip", "486 Busy Here"}, silent: true},
		{name: "vacant after an announcement", suffix: "05", want: waihu.Vacant, by: waihu.ByCallee, evidence: [2]string{"early_media", " ms at -"}, silent: true},
		{name: "colour ring before the answer", suffix: "14", want: waihu.Answered, by: waihu.ByCallee, evidence: [2]string{"early_media", " ms at -"}},
		{name: "wrong password", suffix: "67", trunk: func(w *waihu.Trunk) { w.Password = "guess" }, want: waihu.OurFault, by: waihu.BySystem, evidence: [2]string{"sip", "403"}, silent: true},
		{name: "no password", suffix: "67", trunk: func(w *waihu.Trunk) { w.Password, w.Username = "", "" }, want: waihu.OurFault, by: waihu.BySystem, evidence: [2]string{"error", "password"}, silent: true},
		{name: "no voice", suffix: "13", agent: strings.Replace(byeAgent, "您好，再见。", "哑", 1), want: waihu.OurFault, by: waihu.BySystem, evidence: [2]string{"error", "agent"}, silent: true},
		{name: "no such host", suffix: "13", trunk: func(w *waihu.Trunk) { w.URI = "sip:nowhere.invalid" }, want: waihu.OurFault, by: waihu.BySystem, evidence: [2]string{"error", "nowhere.invalid"}, silent: true},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			trunk := simTrunk(c)
			if k.trunk != nil {
				k.trunk(&trunk)
			}
			if k.agent == "" {
				k.agent = patientAgent
			}
			spec := agentOf(t, k.agent)
			steady(t, c, func(t tell) {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				if k.cancel < 0 {
					cancel()
				} else if k.cancel > 0 {
					defer time.AfterFunc(k.cancel, cancel).Stop()
				}
				o := r.dial(ctx, trunk, waihu.PhoneNumber("+999000000"+k.suffix), spec, k.change)
				sound(t, r, &o)
				if o.Disposition != k.want || o.HangupBy != k.by || !has(&o, k.evidence[0], k.evidence[1]) || (o.Recording == "") != k.silent {
					t.Errorf("%s by %q with recording %q and evidence %+v; want %s by %q, %v, silent %v", o.Disposition, o.HangupBy, o.Recording, o.Evidence, k.want, k.by, k.evidence, k.silent)
				}
				if stopped := strings.HasPrefix(k.name, "shutdown") && k.want == waihu.OurFault; o.Stopped != stopped {
					t.Errorf("stopped by us: %v, want %v", o.Stopped, stopped)
				}
			})
		})
	}
}

// TestFailedCallsLeaveNothing: after many failures of every kind all ports are free and no Call-ID lives on. The
// leak check of the package finds goroutines.
func TestFailedCallsLeaveNothing(t *testing.T) {
	t.Parallel()
	c := startCarrier(t, func(o *carrier.Options) { o.Log = nil })
	r := newRig(t, nil)
	free := r.engine.Free()
	const calls, at = 300, 50
	var wg sync.WaitGroup
	slots := make(chan struct{}, at)
	for i := range calls {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			suffix := []string{"02", "09", "10", "12", "69", "67", "32", "33"}[i%8]
			trunk := simTrunk(c)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			switch suffix {
			case "67":
				trunk.Password = "guess"
			case "33":
				trunk.Codecs = []string{"opus"} // cannot be offered: fails before the INVITE
			}
			if o := r.dial(ctx, trunk, waihu.PhoneNumber(fmt.Sprintf("+99900%04d%s", i, suffix)), agentOf(t, patientAgent), nil); o.EndAt.IsZero() {
				t.Errorf("no outcome for suffix %s", suffix)
			}
		})
	}
	wg.Wait()
	if n := r.engine.Free(); n != free {
		t.Errorf("%d pairs of ports are free after %d calls, %d were before", n, calls, free)
	}
	if n := c.Live(); n != 0 {
		t.Errorf("%d calls live on at the carrier", n)
	}
}

// TestViewersHearOnce: thirty provisional answers are one ringing.
func TestViewersHearOnce(t *testing.T) {
	t.Parallel()
	c := startCarrier(t, nil)
	r := newRig(t, nil)
	spec, outer := agentOf(t, byeAgent), t
	steady(t, c, func(t tell) {
		rang, took := r.count(waihu.EventCallRinging), r.count(waihu.EventCallAnswered)
		o := r.dial(outer.Context(), simTrunk(c), "+99900000077", spec, nil)
		sound(t, r, &o)
		if ringing, answered := r.count(waihu.EventCallRinging)-rang, r.count(waihu.EventCallAnswered)-took; ringing != 1 || answered != 1 {
			t.Errorf("%d ringing and %d answered were published", ringing, answered)
		}
	})
}

// TestRecordingThatCannotBeWritten costs the recording, not the call, and is not promised.
func TestRecordingThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	c := startCarrier(t, nil)
	r := newRig(t, nil)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.deps.Recordings = filepath.Join(file, "below")
	spec, outer := agentOf(t, byeAgent), t
	steady(t, c, func(t tell) {
		o := r.dial(outer.Context(), simTrunk(c), "+99900000013", spec, nil)
		if o.Disposition != waihu.Answered || o.HangupBy != waihu.ByAgent || o.Recording != "" {
			t.Errorf("%s by %q, recording %q", o.Disposition, o.HangupBy, o.Recording)
		}
	})
}

// TestOnEveryInterface: what a peer is told is an address it can reach, although we listen on 0.0.0.0; the carrier
// has a finding for any other. A public address is told instead where the trunk has one.
func TestOnEveryInterface(t *testing.T) {
	t.Parallel()
	c := startCarrier(t, nil)
	r := newRigOn(t, "0.0.0.0", nil)
	for _, transport := range []string{"udp", "tcp"} {
		trunk := simTrunk(c)
		trunk.Transport = transport
		spec, outer := agentOf(t, byeAgent), t
		steady(t, c, func(t tell) {
			o := r.dial(outer.Context(), trunk, "+99900000013", spec, nil)
			sound(t, r, &o)
			if o.Disposition != waihu.Answered || o.HangupBy != waihu.ByAgent || o.Media.Received == 0 || o.Media.Foreign != 0 {
				t.Errorf("%s: %s by %q, media %+v", transport, o.Disposition, o.HangupBy, o.Media)
			}
		})
	}
}

// TestEveryCallee: the carrier's whole book. Whoever talks presses the key that means fine, by whatever way its
// network has; the others end as their scripts say. The carrier's findings fail the test.
func TestEveryCallee(t *testing.T) { // not in parallel with the rest: the carrier judges the clock, too
	c := startCarrier(t, func(o *carrier.Options) { o.Log = nil })
	r := newRig(t, nil)
	spec, outer := agentOf(t, surveyAgent), t
	// These say or send something else than the key alone: how they end is enough. In-band keys (52) are not listened for
	// where telephone-event was agreed on, which this carrier does.
	odd := []int{20, 30, 32, 40, 41, 43, 44, 45, 52, 90}
	// These take half a minute to prove little more.
	long := []int{11, 31, 33, 34, 35, 36, 42}
	slots := make(chan struct{}, 20) // a slow machine must keep its packets in time
	var calls sync.WaitGroup
	for i := range 100 {
		phone := waihu.PhoneNumber(fmt.Sprintf("+99900003%02d", i))
		script := carrier.ScriptFor(phone)
		if script.Unmatched || slices.Contains(long, i) {
			continue
		}
		calls.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			steady(t, c, func(t tell) {
				o := r.dial(outer.Context(), simTrunk(c), phone, spec, nil)
				sound(t, r, &o)
				if !script.Allows(o.Disposition) {
					t.Errorf("%02d %s: %s; evidence %+v", i, script.Name, o.Disposition, o.Evidence)
				}
				if script.Reply == "1" && !slices.Contains(odd, i) && (!slices.Equal(o.Tags, []string{"fine"}) || o.Grade != "A" || o.Media.DTMF != "1") {
					t.Errorf("%02d %s: tags %v, grade %q, digits %q; %+v", i, script.Name, o.Tags, o.Grade, o.Media.DTMF, o.Transcript)
				}
			})
		})
	}
	calls.Wait()
}
