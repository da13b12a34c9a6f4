package keyue

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestCompatibilityPage: the page's tables are the route tables, each row with a status.
func TestCompatibilityPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/keyue-compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| ([A-Z, ]+) \\| `([^`]+)` \\| (\\w+) \\| (.+) \\|$")
	var said, served []string
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		said = append(said, m[1]+" "+m[2])
		if !slices.Contains([]string{"exact", "tolerant", "ours", "later"}, m[3]) || m[4] == "" {
			t.Errorf("%s has the status %q and the note %q", m[2], m[3], m[4])
		}
	}
	s := &server{}
	for _, r := range append(s.routes(), s.aiobRoutes()...) {
		served = append(served, strings.Join(r.methods, ", ")+" "+r.path)
		if !Owns(r.path) {
			t.Errorf("%s lies below none of the prefixes", r.path)
		}
	}
	for _, s := range served {
		if !slices.Contains(said, s) {
			t.Errorf("the page lacks %s", s)
		}
	}
	for _, s := range said {
		if !slices.Contains(served, s) {
			t.Errorf("the page has %s, which is not served", s)
		}
	}
	if len(said) != len(served) {
		t.Errorf("%d rows for %d routes", len(said), len(served))
	}
}
