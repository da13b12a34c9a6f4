package voicefox

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestCompatibilityPage: the page's table is the route table, each with a status.
func TestCompatibilityPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/voicefox-compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| ([A-Z]+) \\| `([^`]+)` \\| (\\w+) \\| .*\\|$")
	var said, served []string
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		said = append(said, m[1]+" "+m[2])
		if !slices.Contains([]string{"exact", "tolerant", "ours"}, m[3]) {
			t.Errorf("%s has the status %q", m[2], m[3])
		}
	}
	for _, r := range (&server{}).routes() {
		served = append(served, r.method+" "+r.path)
		if !Owns(r.path) {
			t.Errorf("%s is not below the prefix", r.path)
		}
	}
	slices.Sort(said)
	slices.Sort(served)
	if !slices.Equal(said, served) {
		t.Errorf("the page says\n%q\nand the routes are\n%q", said, served)
	}
	for _, row := range statusTable {
		if !regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(row.status) + "` \\|").Match(page) {
			t.Errorf("the page lacks the status %s", row.status)
		}
	}
}
