package waihu

import (
	"encoding/json"
	"fmt"
)

// MarshalJSON writes the short form that files use.
func (a Action) MarshalJSON() ([]byte, error) {
	switch {
	case a.Kind == "set":
		return json.Marshal(map[string]any{"set": a.Set})
	case a.Arg == "":
		return json.Marshal(a.Kind)
	default:
		return json.Marshal(map[string]string{a.Kind: a.Arg})
	}
}

// UnmarshalJSON reads a word or an object with one key.
func (a *Action) UnmarshalJSON(b []byte) error {
	var word string
	if json.Unmarshal(b, &word) == nil {
		switch word {
		case "hangup", "opt_out":
			*a = Action{Kind: word}
			return nil
		}
		return fmt.Errorf("%q is not an action by itself: hangup, opt_out or an object such as {say: text} was expected", word)
	}
	var obj map[string]json.RawMessage
	if err := json.Unmarshal(b, &obj); err != nil || len(obj) != 1 {
		return fmt.Errorf("an action is a word or an object with exactly one key, not %.60s", b)
	}
	for kind, raw := range obj {
		switch kind {
		case "set":
			var values map[string]textOrNumber
			if err := json.Unmarshal(raw, &values); err != nil || len(values) == 0 {
				return fmt.Errorf("set wants an object of names and texts, not %.60s", raw)
			}
			*a = Action{Kind: kind, Set: make(map[string]string, len(values))}
			for name, v := range values {
				a.Set[name] = string(v)
			}
		case "say", "play", "tag", "go", "transfer", "wait", "dtmf":
			var arg textOrNumber
			if err := json.Unmarshal(raw, &arg); err != nil {
				return fmt.Errorf("%s wants a text: %w", kind, err)
			}
			if arg == "" {
				return fmt.Errorf("%s is empty", kind)
			}
			*a = Action{Kind: kind, Arg: string(arg)}
		default:
			return fmt.Errorf("unknown action %q: hangup, opt_out, say, play, tag, go, set, transfer, wait or dtmf was expected", kind)
		}
	}
	return nil
}

// textOrNumber takes {wait: 500} as well as {wait: "500"}: YAML makes a number of the first.
type textOrNumber string

func (t *textOrNumber) UnmarshalJSON(b []byte) error {
	var n json.Number
	if len(b) > 0 && b[0] != '"' && json.Unmarshal(b, &n) == nil && n != "" {
		*t = textOrNumber(n)
		return nil
	}
	return json.Unmarshal(b, (*string)(t))
}
