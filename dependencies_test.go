package waihu

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDependencies: docs/dependencies.md says of every direct requirement why it is here, and of nothing else.
func TestDependencies(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	direct := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\s+(\S+/\S+) v\S+$`).FindAllStringSubmatch(string(mod), -1) {
		direct[m[1]] = true
	}
	if len(direct) < 5 {
		t.Fatalf("only %d direct requirements were found in go.mod", len(direct))
	}
	written := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.Contains(cells[1], "/") {
			continue
		}
		name := strings.TrimSpace(cells[1])
		written[name] = true
		if !direct[name] {
			t.Errorf("docs/dependencies.md names %s, which go.mod does not require directly", name)
		}
		if strings.TrimSpace(cells[3]) == "" {
			t.Errorf("docs/dependencies.md does not say why %s is here", name)
		}
	}
	for name := range direct {
		if !written[name] {
			t.Errorf("docs/dependencies.md has no line for %s", name)
		}
	}
}
