package waihu

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestEventKinds: EventKinds has every kind that is declared before the live ones, and docs/callbacks.md explains each.
func TestEventKinds(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "waihu.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	live := []string{`"call.dialing"`, `"call.ringing"`, `"call.answered"`}
	var declared []EventKind
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := v.Type.(*ast.Ident); ok && kind.Name == "EventKind" {
			if text, ok := v.Values[0].(*ast.BasicLit); ok && !slices.Contains(live, text.Value) {
				declared = append(declared, EventKind(strings.Trim(text.Value, `"`)))
			}
		}
		return true
	})
	page, err := os.ReadFile("docs/callbacks.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(declared) < 10 || len(declared) != len(EventKinds) {
		t.Errorf("%d kinds are declared, EventKinds has %d", len(declared), len(EventKinds))
	}
	for _, k := range declared {
		if !slices.Contains(EventKinds, k) {
			t.Errorf("EventKinds has no %s", k)
		}
		if !strings.Contains(string(page), "`"+string(k)+"`") {
			t.Errorf("docs/callbacks.md says nothing of %s", k)
		}
	}
}
