package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"waihu"
	"waihu/carrier"
)

// talkResources are the demonstration's, with shorter sentences and less patience.
func talkResources() string {
	return strings.NewReplacer("$ACCOUNT", testAccount, "$TOKEN", "test-token", "$LINE", "sim", "$CAP", "80", "$RING", "20",
		"您好，{{name|您}}，请问昨天收到的货物完好吗？完好请按一，不完好请按二。", "您好，我是回访助手，请问现在方便吗？",
		"say: 不好意思没听清，完好请按一，不完好请按二。", "say: \"您好，能听到吗？\"",
		"brain: flow", "listen: {noinput: {ms: 2000}}\n    brain: flow").Replace(demoResources)
}

// The callees that make talking hard, each with every kind of reply: what they meant is what the ledger says, nobody
// is spoken over in the transcript, the goodbye is said before the hang-up, and who asked never to be called again is not.
func TestDifficultCallees(t *testing.T) {
	t.Parallel()
	w := newWorld(t, talkResources(), func(c *config) { c.simSpeed = 0.2 })
	meant := map[string]struct {
		tag, grade string
		optOut     bool
	}{
		"": {"", "E", false}, "完好": {"完好", "A", false}, "1": {"完好", "A", false}, "坏了": {"破损", "B", false}, "2": {"破损", "B", false}, "别打了": {"", "E", true},
	}
	var list, suppressed []waihu.PhoneNumber
	made := 0
	number := func(reply, suffix int) waihu.PhoneNumber {
		made++
		return waihu.PhoneNumber(fmt.Sprintf("+999%05d%d%02d", made, reply, suffix))
	}
	for _, suffix := range []int{1, 33, 34, 40, 41, 42, 43, 45, 50, 51, 52, 53, 54, 55, 56} {
		for _, reply := range []int{0, 1, 3, 8} { // whole, broken, a key, leave me alone
			switch {
			case reply > 0 && (suffix == 33 || suffix == 34), reply == 3 && suffix >= 50: // they say nothing; they press keys anyway
			case underRace && (reply+suffix)%4 > 0: // the detector of echoes alone is too much for the clock then
			default:
				list = append(list, number(reply, suffix))
			}
		}
	}
	// A machine that stands still takes words from the air; what was said in such a call is called for again.
	right := 0
	for round := 0; round < 3 && len(list) > 0; round++ {
		task := w.runTask(t, "sim", "123", list, 80)
		calls := w.calls(t, task)
		if len(calls) != len(list) {
			t.Errorf("%d calls, want %d", len(calls), len(list))
		}
		heard := map[waihu.PhoneNumber]carrier.Record{}
		for _, r := range w.server.sim.Calls() {
			heard[r.Called] = r
		}
		list = nil
		for i := range calls {
			c := &calls[i]
			o, s := &c.Outcome, carrier.ScriptFor(c.Phone)
			want := meant[s.Reply]
			if wrong := badTranscript(o); len(wrong) > 0 {
				t.Errorf("callee %s (%s): %s\n%s", s.Suffix, s.Name, strings.Join(wrong, "; "), transcriptText(o))
			}
			if o.Disposition == waihu.Answered && strings.Join(o.Tags, ",") == want.tag && o.Grade == want.grade && o.OptOut == want.optOut {
				right++
				if want.optOut {
					suppressed = append(suppressed, c.Phone)
				}
				continue
			}
			if gap := heard[c.Phone].MaxGap; gap > 60*time.Millisecond || o.Media.MaxGapMS > 60 {
				list = append(list, number(int(c.Phone[len(c.Phone)-3]-'0'), int(c.Phone[len(c.Phone)-2]-'0')*10+int(c.Phone[len(c.Phone)-1]-'0')))
				continue
			}
			t.Errorf("callee %s (%s) with the reply %q ended as %s with tags %v, grade %q, opt-out %v; pauses of %v and %.0f ms\n%s", s.Suffix, s.Name, s.Reply,
				o.Disposition, o.Tags, o.Grade, o.OptOut, heard[c.Phone].MaxGap, o.Media.MaxGapMS, transcriptText(o))
		}
	}
	t.Logf("%d calls were as they should be, %d could not be judged", right, len(list))
	for _, f := range w.server.sim.Findings() {
		t.Error(f)
	}

	before := w.server.sim.Attempts()
	control := waihu.PhoneNumber("+9999900002")
	again := append(slices.Clone(suppressed), control)
	w.runTask(t, "sim", "123", again, 80)
	after := w.server.sim.Attempts()
	for _, p := range again {
		if dialled := after[p] - before[p]; dialled != map[bool]int{true: 1}[p == control] {
			t.Errorf("after their wish a number with suffix %s was dialled %d times", carrier.ScriptFor(p).Suffix, dialled)
		}
	}
	if len(suppressed) == 0 || right < 5 {
		t.Errorf("%d calls right, %d of them with the wish not to be called again: the test has shown nothing", right, len(suppressed))
	}
}

// badTranscript says what no talk may look like.
func badTranscript(o *waihu.Outcome) (wrong []string) {
	end, last := int64(0), ""
	for _, turn := range o.Transcript {
		if turn.ToMS < turn.FromMS {
			wrong = append(wrong, fmt.Sprintf("a turn from %d to %d ms", turn.FromMS, turn.ToMS))
		}
		if strings.Contains(turn.Text, "。，") || strings.Contains(turn.Text, "，，") {
			wrong = append(wrong, "a text with two marks in a row")
		}
		if turn.Who != "agent" {
			continue
		}
		if turn.FromMS < end {
			wrong = append(wrong, fmt.Sprintf("the agent begins at %d ms and spoke until %d", turn.FromMS, end))
		}
		if end, last = turn.ToMS, turn.Text; turn.Barged && turn.Text == "" {
			wrong = append(wrong, "an empty line of the agent")
		}
	}
	if o.HangupBy == waihu.ByAgent && last != "感谢您的接听，再见。" && last != "好的，不再打扰。" {
		wrong = append(wrong, fmt.Sprintf("the agent hung up after %q", last))
	}
	return wrong
}

func transcriptText(o *waihu.Outcome) string {
	var b strings.Builder
	for _, x := range o.Transcript {
		fmt.Fprintf(&b, "%6d-%6d ms %s %q %s [%s, %s, %s] barged %v\n", x.FromMS, x.ToMS, x.Who, x.Text, x.Digit, x.Node, x.Intent, x.Why, x.Barged)
	}
	return b.String()
}
