package carrier

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"waihu"
)

// expectation is what a right caller sees of a callee.
type expectation struct {
	suffix   int
	reply    byte // third digit from the end: which reply the callee gives
	knobs    func(*phone)
	statuses []int    // all statuses of the INVITE, in order; nil: any
	requests []string // requests of the carrier, in order; nil: only BYE
	texts    []string // subtitles; nil: not checked
	check    func(tell, *phone, Record)
}

var (
	plain     = []int{100, 180, 200}
	talked    = []string{"喂", "完好"}
	nothing   = []string{}
	onlyBye   = []string{"BYE"}
	answeredN = func(n int) []int { return append([]int{100, 180}, slices.Repeat([]int{200}, n)...) }
)

func hangsUp(after time.Duration) func(*phone) {
	return func(p *phone) { p.byeAfter = after }
}

func cancels(after time.Duration) func(*phone) {
	return func(p *phone) { p.cancelAfter = after }
}

// cancelsWhenItRings leaves the CANCEL all the time that the phone rings, which is not long.
func cancelsWhenItRings(p *phone) {
	p.cancelAfter, p.hold = time.Nanosecond, func() bool { return !slices.Contains(p.statuses, 180) }
}

// failure expects these statuses and no sound after an answer.
func failure(suffix int, statuses ...int) expectation {
	return expectation{suffix: suffix, statuses: statuses, requests: nothing, texts: nothing}
}

func reason(e expectation, cause string) expectation {
	e.check = func(t tell, p *phone, _ Record) {
		if !strings.Contains(p.reasons, "cause="+cause) {
			t.Errorf("Reason is %q, want cause %s", p.reasons, cause)
		}
	}
	return e
}

// earlySound expects sound before the answer or failure.
func earlySound(e expectation) expectation {
	next := e.check
	e.check = func(t tell, p *phone, r Record) {
		if next != nil {
			next(t, p, r)
		}
		if p.seen.packets == 0 || slices.Max(p.seen.levels) < -40 {
			t.Errorf("%d packets of early media: some sound was expected", p.seen.packets)
		}
	}
	return e
}

func keysHeard(digits, infos, tones string) func(tell, *phone, Record) {
	return func(t tell, p *phone, _ Record) {
		if p.seen.digits != digits || p.infos != infos || p.seen.tones != tones {
			t.Errorf("events %q, INFO %q, tones %q; want %q, %q, %q", p.seen.digits, p.infos, p.seen.tones, digits, infos, tones)
		}
	}
}

func expectations() []expectation {
	byInfo := []string{"INFO", "BYE"}
	return []expectation{
		{suffix: 1, statuses: plain, texts: talked},
		{suffix: 1, reply: '1', statuses: plain, texts: []string{"喂", "坏了"}},
		{suffix: 1, reply: '3', statuses: plain, texts: []string{"喂"}, check: keysHeard("1", "", "")},
		{suffix: 1, reply: '8', statuses: plain, texts: []string{"喂", "别打了"}},
		{suffix: 1, statuses: plain, knobs: hangsUp(2 * time.Second), requests: nothing, check: func(t tell, p *phone, r Record) {
			if p.byeStatus != 200 || r.EndedBy != waihu.ByAgent {
				t.Errorf("BYE was answered %d, ended by %q", p.byeStatus, r.EndedBy)
			}
		}},
		{suffix: 1, statuses: []int{100, 180, 487}, knobs: cancelsWhenItRings, requests: nothing},
		failure(2, 100, 486),
		failure(3, 100, 180, 603),
		{suffix: 4, statuses: []int{100, 180, 487}, knobs: cancels(time.Second), requests: nothing},
		earlySound(failure(5, 100, 183, 404)),
		earlySound(reason(failure(6, 100, 183, 480), "20")),
		earlySound(failure(7, 100, 183, 480)),
		earlySound(reason(failure(8, 100, 183, 486), "17")),
		reason(failure(9, 100, 403), "55"),
		failure(10, 100, 402),
		failure(11, 100, 180, 480),
		failure(12, 503),
		{suffix: 13, statuses: []int{100, 200}, texts: talked},
		earlySound(expectation{suffix: 14, statuses: []int{100, 183, 200}, texts: talked}),
		{suffix: 15, statuses: []int{100, 183, 180, 200}, texts: talked, check: func(t tell, p *phone, _ Record) {
			if len(p.seen.froms) != 2 || !strings.Contains(p.dialogs[p.okTag].sdp, " 2 IN IP4") {
				t.Errorf("sound from %d ports, description %q: two ports and version 2 were expected", len(p.seen.froms), p.dialogs[p.okTag].sdp)
			}
		}},
		{suffix: 20, statuses: plain, texts: []string{greeting}},
		{suffix: 21, statuses: plain, texts: []string{secretaryText}},
		{suffix: 22, statuses: plain, texts: []string{assistantText, relayText}},
		{suffix: 23, statuses: plain, texts: []string{menuText, menuText, menuText}},
		{suffix: 24, statuses: plain, texts: nothing, knobs: hangsUp(8 * time.Second), requests: nothing, check: loudFrames(50, -20)},
		{suffix: 30, statuses: plain, texts: []string{"喂"}},
		{suffix: 31, statuses: plain, texts: nothing, check: func(t tell, p *phone, r Record) {
			if r.Turns != 1 || r.Speech < time.Second || r.Speech > 1700*time.Millisecond {
				t.Errorf("the caller was heard for %v in %d turns: one sentence cut short was expected", r.Speech, r.Turns)
			}
		}},
		{suffix: 32, statuses: plain, texts: nothing, check: func(t tell, _ *phone, r Record) {
			if d := r.EndAt.Sub(r.AnswerAt); d > time.Second {
				t.Errorf("hung up %v after the answer", d)
			}
		}},
		{suffix: 33, statuses: plain, texts: nothing, knobs: hangsUp(3 * time.Second), requests: nothing, check: func(t tell, p *phone, _ Record) {
			if loud := slices.Max(p.seen.levels); loud > -60 || p.seen.packets < 100 {
				t.Errorf("%d packets, the loudest at %.0f dBFS: silence was expected", p.seen.packets, loud)
			}
		}},
		{suffix: 34, statuses: plain, texts: []string{story, story, story, "再见"}},
		{suffix: 35, statuses: plain, texts: []string{"喂"}, knobs: hangsUp(6 * time.Second), requests: nothing, check: func(t tell, p *phone, _ Record) {
			if quiet := time.Since(p.seen.last); quiet < time.Second || p.byeStatus != 200 {
				t.Errorf("the last packet came %v ago, BYE was answered %d", quiet, p.byeStatus)
			}
		}},
		{suffix: 36, statuses: plain, texts: []string{"喂"}, knobs: hangsUp(6 * time.Second), requests: nothing, check: func(t tell, p *phone, r Record) {
			if p.byeStatus != 481 || r.EndedBy != waihu.ByCallee || r.EndAt.Sub(r.AnswerAt) > 5*time.Second {
				t.Errorf("BYE was answered %d; ended by %q after %v", p.byeStatus, r.EndedBy, r.EndAt.Sub(r.AnswerAt))
			}
		}},
		{suffix: 40, statuses: plain, texts: []string{"喂", "等一下", "完好"}},
		{suffix: 41, statuses: plain, check: func(t tell, p *phone, _ Record) {
			if len(p.seen.texts) != 4 || p.seen.texts[1] != "嗯" || p.seen.texts[3] != "完好" {
				t.Errorf("heard %v", p.seen.texts)
			}
		}},
		{suffix: 42, statuses: plain, texts: talked, check: loudFrames(20, -32)},
		{suffix: 43, statuses: plain, texts: talked, check: loudFrames(300, -45)},
		{suffix: 44, statuses: plain, texts: talked, check: loudFrames(200, -48)},
		{suffix: 45, statuses: plain, texts: talked, check: loudFrames(120, -48)},
		{suffix: 50, reply: '1', statuses: plain, texts: []string{"喂"}, check: func(t tell, p *phone, r Record) {
			keysHeard("2", "", "")(t, p, r)
			if p.seen.evMarks != 1 || p.seen.ends != 3 || p.seen.pts[101] != 10 {
				t.Errorf("%d markers, %d ends, payload types %v: 1, 3 and ten of 101 were expected", p.seen.evMarks, p.seen.ends, p.seen.pts)
			}
		}},
		{suffix: 51, statuses: plain, texts: []string{"喂"}, requests: byInfo, check: keysHeard("", "1", "")},
		{suffix: 52, statuses: plain, texts: []string{"喂"}, check: keysHeard("", "", "1")},
		{suffix: 53, statuses: plain, texts: []string{"喂"}, requests: byInfo, check: keysHeard("1", "1", "")},
		{suffix: 54, statuses: plain, texts: []string{"喂"}, check: func(t tell, p *phone, r Record) {
			keysHeard("1", "", "")(t, p, r)
			if !strings.Contains(p.dialogs[p.okTag].sdp, "a=rtpmap:96 telephone-event/8000") || p.seen.pts[101] == 0 {
				t.Errorf("description %q, payload types %v", p.dialogs[p.okTag].sdp, p.seen.pts)
			}
		}},
		{suffix: 55, statuses: plain, check: func(t tell, p *phone, r Record) {
			keysHeard("1", "", "")(t, p, r)
			if p.seen.evMarks != 0 {
				t.Errorf("the event has a marker")
			}
		}},
		{suffix: 56, statuses: plain, check: func(t tell, p *phone, r Record) {
			keysHeard("1", "", "")(t, p, r)
			if p.seen.ends != 0 {
				t.Errorf("%d end packets", p.seen.ends)
			}
		}},
		{suffix: 60, statuses: []int{100, 183, 180, 200}, texts: talked},
		{suffix: 61, statuses: plain, texts: talked, check: func(t tell, p *phone, _ Record) {
			if n := count(p.requests, "UPDATE"); n < 2 {
				t.Errorf("%d refreshes", n)
			}
		}, requests: []string{"UPDATE"}},
		{suffix: 62, statuses: []int{100, 422, 100, 180, 200}, texts: talked},
		{suffix: 63, statuses: plain, texts: talked, requests: []string{"INVITE", "ACK", "INVITE", "ACK", "BYE"}},
		{suffix: 64, statuses: plain, texts: talked, requests: []string{"INVITE", "ACK", "BYE"}},
		{suffix: 65, statuses: plain, texts: talked, requests: []string{"UPDATE", "BYE"}},
		{suffix: 67, statuses: []int{100, 401, 100, 401, 100, 180, 200}, texts: talked},
		{suffix: 68, statuses: []int{100, 407, 100, 407, 100, 180, 200}, texts: talked},
		{suffix: 67, knobs: func(p *phone) { p.pass = "wrong" }, statuses: []int{100, 401, 403}, requests: nothing},
		failure(69, 100, 302),
		{suffix: 70, statuses: []int{100, 183, 183, 200}, texts: talked, check: func(t tell, p *phone, _ Record) {
			if len(p.dialogs) != 2 || len(p.seen.froms) != 2 {
				t.Errorf("%d dialogs, sound from %d ports", len(p.dialogs), len(p.seen.froms))
			}
		}},
		{suffix: 71, statuses: answeredN(2), texts: talked, check: func(t tell, p *phone, _ Record) {
			if len(p.dialogs) != 2 || p.acks < 2 {
				t.Errorf("%d dialogs, %d ACKs", len(p.dialogs), p.acks)
			}
		}},
		{suffix: 72, statuses: plain, knobs: cancels(300 * time.Millisecond), requests: nothing, check: func(t tell, _ *phone, r Record) {
			if !r.Crossed {
				t.Errorf("the record does not say that the answer crossed the CANCEL")
			}
		}},
		{suffix: 73, statuses: answeredN(6), texts: talked},
		{suffix: 74, statuses: answeredN(2), texts: talked},
		{suffix: 75, statuses: []int{100, 183, 200}, texts: talked},
		{suffix: 76, statuses: []int{100, 487}, knobs: cancels(time.Second), requests: nothing},
		{suffix: 77, texts: talked, check: func(t tell, p *phone, _ Record) {
			if len(p.statuses) != 32 || p.statuses[31] != 200 {
				t.Errorf("statuses %v", p.statuses)
			}
		}},
		{suffix: 80, statuses: plain, texts: talked, check: payloadTypes(8)},
		{suffix: 81, statuses: plain, texts: talked, check: payloadTypes(0)},
		{suffix: 81, statuses: []int{100, 180, 488}, knobs: func(p *phone) { p.codecs = []int{8} }, requests: nothing},
		{suffix: 83, statuses: plain, texts: talked, check: func(t tell, p *phone, _ Record) {
			if p.seen.sizes[240] == 0 || len(p.seen.sizes) != 1 {
				t.Errorf("payload sizes %v", p.seen.sizes)
			}
		}},
		{suffix: 84, statuses: plain, texts: talked, check: func(t tell, p *phone, _ Record) {
			for port := range p.seen.froms {
				if strings.Contains(p.dialogs[p.okTag].sdp, fmt.Sprintf("m=audio %d ", port)) && len(p.seen.froms) == 1 {
					t.Errorf("RTP came from the port of the description alone")
				}
			}
		}},
		{suffix: 85, statuses: plain, texts: talked, check: func(t tell, p *phone, _ Record) {
			if len(p.seen.ssrcs) != 2 {
				t.Errorf("%d sources", len(p.seen.ssrcs))
			}
		}},
		{suffix: 87, statuses: plain, check: func(t tell, p *phone, _ Record) {
			if p.seen.lost < 5 || p.seen.lost > p.seen.packets/8 {
				t.Errorf("%d gaps in %d packets", p.seen.lost, p.seen.packets)
			}
		}},
		{suffix: 86, statuses: plain, texts: talked, check: func(t tell, p *phone, _ Record) {
			if p.seen.early < 30 {
				t.Errorf("%d of %d packets came less than 12 ms after the one before: jitter was expected", p.seen.early, p.seen.packets)
			}
		}},
		{suffix: 88, statuses: plain, texts: talked},
		{suffix: 90, statuses: nil},
		{suffix: 99, statuses: plain, texts: talked, check: func(t tell, _ *phone, r Record) {
			if !r.Unmatched || r.Suffix != "01" {
				t.Errorf("the record says suffix %s, unmatched %t", r.Suffix, r.Unmatched)
			}
		}},
	}
}

// trim drops repetitions of the last status beyond n: a machine that stalls for T1 makes them.
func trim(statuses []int, n int) []int {
	for len(statuses) > n && statuses[len(statuses)-1] == statuses[len(statuses)-2] {
		statuses = statuses[:len(statuses)-1]
	}
	return statuses
}

func payloadTypes(pt int) func(tell, *phone, Record) {
	return func(t tell, p *phone, _ Record) {
		if p.seen.pts[pt] == 0 || len(p.seen.pts) != 1 {
			t.Errorf("payload types %v", p.seen.pts)
		}
	}
}

// loudFrames expects sound in at least n frames.
func loudFrames(n int, level float64) func(tell, *phone, Record) {
	return func(t tell, p *phone, _ Record) {
		loud := 0
		for _, l := range p.seen.levels {
			if l > level {
				loud++
			}
		}
		if loud < n {
			t.Errorf("%d of %d frames above %.0f dBFS, want %d", loud, len(p.seen.levels), level, n)
		}
	}
}

func count(s []string, v string) (n int) {
	for _, x := range s {
		if x == v {
			n++
		}
	}
	return n
}

// TestCallees calls every callee at once with callers that keep every rule.
func TestCallees(t *testing.T) {
	t.Parallel()
	c := start(t, func(o *Options) { o.T1 = defaultT1 }) // with a shorter one a busy machine makes repetitions
	all := expectations()
	number := func(i int) string {
		reply := all[i].reply
		if reply == 0 {
			reply = '0'
		}
		return fmt.Sprintf("+99900%02d%c%02d", i, reply, all[i].suffix)
	}
	verdicts := judgeCalls(t, c, len(all), func(i int) *phone {
		p := newPhone(t, c, number(i))
		if all[i].knobs != nil {
			all[i].knobs(p)
		}
		if all[i].suffix == 90 && !c.Script(waihu.PhoneNumber(p.number)).Answered {
			p.cancelAfter = 5 * time.Second
		}
		return p
	}, func(v tell, i int, p *phone, r Record) { all[i].judge(v, c, p, r) })
	for i, e := range all {
		t.Run(fmt.Sprintf("%02d %s", e.suffix, number(i)), verdicts[i].report)
	}
	for _, f := range c.Findings() {
		t.Error("a finding about a caller that keeps the rules: ", f)
	}
	if c.Live() != 0 {
		t.Errorf("%d calls are live", c.Live())
	}
}

// judge holds a call against what was expected of its callee.
func (e expectation) judge(v tell, c *Carrier, p *phone, r Record) {
	if e.statuses != nil && !slices.Equal(trim(p.statuses, len(e.statuses)), e.statuses) {
		v.Errorf("statuses %v, want %v", p.statuses, e.statuses)
	}
	want := e.requests
	if want == nil {
		want = onlyBye
	}
	if got := p.requests; e.suffix != 61 && e.suffix != 90 && !slices.Equal(got, want) {
		v.Errorf("requests %v, want %v", got, want)
	}
	if e.texts != nil && !slices.Equal(p.seen.texts, e.texts) {
		v.Errorf("heard %q, want %q", p.seen.texts, e.texts)
	}
	if e.check != nil {
		e.check(v, p, r)
	}
	if r.EndAt.IsZero() || r.InviteAt.IsZero() {
		v.Errorf("the record is not closed: %+v", r)
	}
	if s := c.Script(waihu.PhoneNumber(p.number)); s.Answered != (p.final == 200) && !slices.Contains([]int{67, 72, 1, 81}, e.suffix) {
		v.Errorf("final status %d, but the script says answered: %t", p.final, s.Answered)
	}
}

// unfinished are the calls that the carrier still routes.
func unfinished(c *Carrier) []*call {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*call
	for _, k := range c.calls {
		out = append(out, k)
	}
	return out
}
