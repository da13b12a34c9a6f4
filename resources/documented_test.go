package resources

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"waihu"
)

// TestEveryKeyIsDocumented: docs/resources.md and docs/agents.md name every key that the decoder takes.
func TestEveryKeyIsDocumented(t *testing.T) {
	t.Parallel()
	pages := ""
	for _, file := range []string{"../docs/resources.md", "../docs/agents.md"} {
		b, err := os.ReadFile(file)
		must(t, err)
		pages += string(b)
	}
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(v reflect.Type) {
		switch v.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
			walk(v.Elem())
			return
		case reflect.Struct:
		default:
			return
		}
		if seen[v] || v == reflect.TypeFor[waihu.Action]() { // an action has words, not keys
			return
		}
		seen[v] = true
		for key, i := range structKeys(v) {
			if !strings.Contains(pages, "`"+key+"`") && !strings.Contains(pages, "## "+key) && !strings.Contains(pages, ", "+key+"\n") &&
				!strings.Contains(pages, ", "+key+",") && !strings.Contains(pages, "{"+key+":") && !strings.Contains(pages, ", "+key+":") {
				t.Errorf("the key %s of %s is in no page", key, v)
			}
			walk(v.FieldByIndex(i).Type)
		}
	}
	walk(reflect.TypeFor[fileDoc]())
	if len(seen) < 20 {
		t.Errorf("only %d kinds of objects were looked at", len(seen))
	}
}

// TestDocumentedFilesApply: every resources file shown in the documentation is taken as it stands.
func TestDocumentedFilesApply(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"../README.md", "../README.zh-CN.md", "../docs/resources.md", "../docs/agents.md"} {
		b, err := os.ReadFile(file)
		must(t, err)
		shown := 0
		for i, part := range strings.Split(string(b), "```") {
			text, ok := strings.CutPrefix(part, "yaml\n")
			if i%2 == 0 || !ok {
				continue
			}
			if !strings.HasPrefix(strings.TrimSpace(text), "accounts:") {
				continue // another kind of file
			}
			shown++
			s := open(t)
			o := options(s)
			o.Env = func(string) (string, bool) { return "a secret", true }
			if _, err := Apply(t.Context(), file, []byte(undent(text)), o); err != nil {
				t.Errorf("%s: %v\n%s", file, err, text)
			}
		}
		if shown == 0 {
			t.Errorf("%s shows no file", file)
		}
	}
}

// undent takes the indentation of the first line off all lines: a file in a list stands to the right.
func undent(text string) string {
	indent := text[:len(text)-len(strings.TrimLeft(text, " "))]
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], indent)
	}
	return strings.Join(lines, "\n")
}
