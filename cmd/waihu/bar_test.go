package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestBarFitsTheTerminal(t *testing.T) {
	t.Parallel()
	text := "100/100, 25 dialling, 25 talking, cap 25, 100 answered, 2.5 calls/s"
	for _, width := range []int{1, 10, 40, 80, 81, 120, 300} {
		line := barLine("", 50, 100, text, width)
		if len(line) >= width && width > 1 {
			t.Errorf("%d letters on a terminal of %d: %s", len(line), width, line)
		}
		if width >= 81 && !strings.HasSuffix(line, text) {
			t.Errorf("a terminal of %d cuts the figures: %s", width, line)
		}
	}
	if got, want := barLine("importing", 1, 4, "x", 0), "importing [########........................]  25% x"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A bar that was taken away, or never moved, leaves nothing behind.
func TestBarLeavesNothing(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	newBar(&out, "importing", 10).end()
	b := newBar(&out, "importing", 10)
	b.set(5, "half")
	b.drop()
	b.set(6, "more")
	if out.Len() > 0 {
		t.Errorf("it left %q", out.String())
	}
}
