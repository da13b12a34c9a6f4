package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// bar is a progress bar on a terminal; elsewhere it says how far the work is every few seconds. Its methods may be
// called concurrently: bytes move it from one goroutine, figures arrive on another.
type bar struct {
	out   io.Writer
	label string
	whole int64
	tty   *os.File // nil: no terminal
	began time.Time

	mu   sync.Mutex
	done int64
	text string
	last time.Time
	seen bool // something was drawn
	over bool // nothing more is to be drawn
}

const (
	barWidth    = 32
	ttyEvery    = 100 * time.Millisecond
	plainEvery  = 5 * time.Second
	clearToLeft = "\r\x1b[K"
)

func newBar(out io.Writer, label string, whole int64) *bar {
	b := &bar{out: out, label: label, whole: whole, began: time.Now()}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		b.tty = f
	}
	b.last = b.began
	return b
}

// set moves the bar; text stands behind it. Often is fine: it draws at its own pace.
func (b *bar) set(done int64, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done, b.text = done, text
	b.drawSometimesLocked()
}

// say changes the text behind the bar.
func (b *bar) say(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = text
	b.drawSometimesLocked()
}

func (b *bar) drawSometimesLocked() {
	every := plainEvery
	if b.tty != nil {
		every = ttyEvery
	}
	if !b.over && time.Since(b.last) >= every {
		b.drawLocked()
	}
}

func (b *bar) drawLocked() {
	b.last, b.seen = time.Now(), true
	if b.tty == nil {
		fmt.Fprintln(b.out, barLine(b.label, b.done, b.whole, b.text, 0))
		return
	}
	width, _, err := term.GetSize(int(b.tty.Fd()))
	if err != nil {
		width = 80
	}
	fmt.Fprint(b.out, clearToLeft, barLine(b.label, b.done, b.whole, b.text, width))
}

// barLine is the bar as a line that a terminal of that width does not break, since a broken line could not be
// drawn over; 0 is any width.
func barLine(label string, done, whole int64, text string, width int) string {
	part := float64(1)
	if whole > 0 {
		part = min(1, float64(done)/float64(whole))
	}
	cells := barWidth
	if width > 0 {
		cells = max(4, min(barWidth, (width-len(label)-len(text)-9)))
	}
	if label != "" {
		label += " "
	}
	full := int(part * float64(cells))
	line := fmt.Sprintf("%s[%s%s] %3.0f%% %s", label, strings.Repeat("#", full), strings.Repeat(".", cells-full), part*100, text)
	if width > 0 && len(line) >= width {
		line = line[:max(0, width-1)] // labels and texts are ASCII
	}
	return line
}

// clear takes the bar away so that a line can be printed; the next set draws it again.
func (b *bar) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tty != nil && b.seen {
		fmt.Fprint(b.out, clearToLeft)
		b.last = time.Time{}
	}
}

// end draws the bar a last time and leaves its line; a bar that never moved leaves nothing.
func (b *bar) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over = true; b.done == 0 {
		return
	}
	b.drawLocked()
	if b.tty != nil {
		fmt.Fprintln(b.out)
	}
}

// drop takes the bar away for good: what it showed was not reached.
func (b *bar) drop() {
	b.clear()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
}

// reader moves the bar by the bytes that pass.
func (b *bar) reader(r io.Reader) io.Reader { return &barReader{r, b} }

type barReader struct {
	io.Reader
	bar *bar
}

func (r *barReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.bar.mu.Lock()
	defer r.bar.mu.Unlock()
	r.bar.done += int64(n)
	r.bar.drawSometimesLocked()
	return n, err
}
