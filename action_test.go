package waihu

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestActionForms(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Action{
		`"hangup"`:                {Kind: "hangup"},
		`"opt_out"`:               {Kind: "opt_out"},
		`{"say":"再见"}`:            {Kind: "say", Arg: "再见"},
		`{"wait":500}`:            {Kind: "wait", Arg: "500"},
		`{"set":{"a":"b","n":3}}`: {Kind: "set", Set: map[string]string{"a": "b", "n": "3"}},
		`{"transfer":"sales"}`:    {Kind: "transfer", Arg: "sales"},
		" {\"go\" : \"bye\"} ":    {Kind: "go", Arg: "bye"},
		`{"tag":"\u5b8c\u597d"}`:  {Kind: "tag", Arg: "完好"},
		`{"play":"jingle.wav"}`:   {Kind: "play", Arg: "jingle.wav"},
		`{"dtmf":12}`:             {Kind: "dtmf", Arg: "12"},
	} {
		var got Action
		if err := json.Unmarshal([]byte(in), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %+v, %v", in, got, err)
		}
	}
	for in, says := range map[string]string{
		`"say"`:                "not an action by itself",
		`{"say":""}`:           "empty",
		`{"say":["a"]}`:        "wants a text",
		`{"shout":"a"}`:        "unknown action",
		`{"say":"a","go":"b"}`: "exactly one key",
		`{}`:                   "exactly one key",
		`3`:                    "word or an object",
		`null`:                 "",
		`{"set":"a"}`:          "set wants",
		`{"set":{}}`:           "set wants",
		`{"set":{"a":[1]}}`:    "set wants",
		`{"hangup":"now"}`:     "unknown action",
	} {
		var got Action
		if err := json.Unmarshal([]byte(in), &got); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
}

// What was read is written so that it reads the same.
func FuzzAction(f *testing.F) {
	for _, s := range []string{`"hangup"`, `{"say":"x"}`, `{"set":{"a":1e3}}`, `{"wait":0.5}`, `{"say":null}`, `null`, `{"go":"a","go":"b"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var a, again Action
		if json.Unmarshal(raw, &a) != nil {
			return
		}
		out, err := json.Marshal(a)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if err := json.Unmarshal(out, &again); err != nil || !reflect.DeepEqual(a, again) {
			t.Fatalf("%s is %+v, written %s, read %+v (%v)", raw, a, out, again, err)
		}
	})
}
