package agent

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waihu"
)

var update = flag.Bool("update", false, "write the golden dialogues anew")

// TestGoldenDialogues compares whole dialogues, decisions included, with the files under testdata/dialogues.
func TestGoldenDialogues(t *testing.T) {
	t.Parallel()
	li := map[string]string{"name": "李女士"}
	bill := map[string]string{"name": "王先生", "amount": "12050.5", "due": "2026-12-01"}
	for _, tc := range []struct {
		name, spec string
		vars       map[string]string
		inputs     []string
	}{
		{"fine_by_words", surveyJSON, li, []string{"嗯，没问题"}},
		{"fine_by_key", surveyJSON, nil, []string{"dtmf:1"}},
		{"broken_by_words", surveyJSON, nil, []string{"不完好，坏了一个角"}},
		{"negated_is_not_fine", surveyJSON, nil, []string{"不是很好", "有点破损"}},
		{"stop_by_words", surveyJSON, nil, []string{"我不需要，别打了"}},
		{"stop_by_key", surveyJSON, nil, []string{"dtmf:9"}},
		{"never_understood", surveyJSON, nil, []string{"今天天气怎么样", "dtmf:7", "speech"}},
		{"silent", surveyJSON, nil, []string{"silence", "silence", "silence"}},
		{"promise", remindJSON, bill, []string{"是的", "收费吗", "可以"}},
		{"refusal_with_reason", remindJSON, bill, []string{"对，我是", "不可以", "最近没有钱"}},
		{"wrong_person", remindJSON, bill, []string{"不是"}},
		{"no_input_texts", remindJSON, bill, []string{"是", "silence", "silence", "silence"}},
		{"complaint", remindJSON, bill, []string{"是", "我要投诉你们"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			talk, err := Dialogue(spec(t, tc.spec), tc.vars, tc.inputs...)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, turn := range talk.Turns {
				said := turn.Text
				if turn.Digit != "" {
					said = "#" + turn.Digit
				}
				fmt.Fprintf(&b, "%-6s %s | node=%s intent=%s why=%s\n", turn.Who, said, turn.Node, turn.Intent, turn.Why)
			}
			fmt.Fprintf(&b, "ended=%v (%s) tags=%v opt_out=%v collected=%v affirm=%d refusals=%d rounds=%d grade=%s\n", talk.Ended, talk.Reason,
				talk.Tags, talk.OptOut, talk.Collected, talk.Facts.Affirm, talk.Facts.Refusals, talk.Facts.Rounds, talk.Grade)
			file := filepath.Join("testdata", "dialogues", tc.name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if b.String() != string(want) {
				t.Errorf("got\n%swant\n%s", b.String(), want)
			}
		})
	}
}

func TestRequiredVariable(t *testing.T) {
	t.Parallel()
	_, err := Dialogue(spec(t, remindJSON), map[string]string{"amount": "3"})
	if waihu.ErrorCode(err) != waihu.EInvalid || !strings.Contains(err.Error(), "name") {
		t.Errorf("missing name: %v", err)
	}
	_, err = Dialogue(spec(t, remindJSON), map[string]string{"name": "王", "amount": "a lot"})
	if waihu.ErrorCode(err) != waihu.EInvalid || strings.Contains(err.Error(), "a lot") {
		t.Errorf("unreadable amount: %v", err)
	}
}

func TestOtherBrainsAreStoredNotDialled(t *testing.T) {
	t.Parallel()
	for _, brain := range []waihu.Brain{waihu.BrainLLM, waihu.BrainBot} {
		s := &waihu.AgentSpec{ID: "9001", Brain: brain, LLM: &waihu.LLMSpec{Prompt: "x"}, Bot: &waihu.BotSpec{URL: "wss://bot.example.com"},
			Grade: []waihu.GradeRule{{Level: "E", When: "not answered"}}}
		if p := Check(s); len(p) > 0 {
			t.Errorf("%s: Check finds %v", brain, p)
		}
		var e *waihu.Error
		if err := Usable(s); !errors.As(err, &e) || e.Field != "brain" || !strings.Contains(e.Message, string(brain)) {
			t.Errorf("%s: Usable says %v", brain, err)
		}
		if got := Grade(s, Facts{}); got != "E" {
			t.Errorf("%s: graded %q", brain, got)
		}
	}
}
