package sheet

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// window is how far the reader looks ahead to judge encoding and delimiter.
const window = 64 << 10

// Text is r, a text of any encoding that a Reader takes, as UTF-8. What cannot be decoded becomes U+FFFD, or passes
// as it is behind a UTF-8 mark.
func Text(r io.Reader) io.Reader { return decoded(bufio.NewReaderSize(r, window)) }

// decoded returns r's text as UTF-8. A byte order mark decides; without one, text is
// ASCII until its first other byte, and what follows that byte decides between UTF-8
// and GB18030 (which contains GBK and GB2312). A file may be ASCII for a million rows
// and Chinese in the last, so the choice is made where it matters, not at the start.
func decoded(br *bufio.Reader) io.Reader {
	head, _ := br.Peek(3) // a short or failing source shows itself at the first read
	switch {
	case bytes.HasPrefix(head, []byte{0xef, 0xbb, 0xbf}):
		br.Discard(3) // the bytes are in the buffer: it cannot fail
		return br
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}), bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return transform.NewReader(br, unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM).NewDecoder())
	}
	return &guess{br: br}
}

// guess passes ASCII through until it knows better.
type guess struct {
	br  *bufio.Reader
	out io.Reader // once decided
}

func (g *guess) Read(p []byte) (int, error) {
	if g.out != nil {
		return g.out.Read(p)
	}
	b, err := g.br.Peek(1)
	if len(b) == 0 {
		return 0, err
	}
	if b[0] < utf8.RuneSelf {
		b, _ = g.br.Peek(min(g.br.Buffered(), len(p)))
		n := bytes.IndexFunc(b, func(r rune) bool { return r >= utf8.RuneSelf })
		if n < 0 {
			n = len(b)
		}
		copy(p, b[:n])
		g.br.Discard(n) // buffered: it cannot fail
		return n, nil
	}
	ahead, err := g.br.Peek(window)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return 0, err
	}
	if validPrefix(ahead) {
		g.out = g.br
	} else {
		g.out = transform.NewReader(g.br, simplifiedchinese.GB18030.NewDecoder())
	}
	return g.out.Read(p)
}

// validPrefix says whether b is UTF-8, perhaps cut inside its last character.
func validPrefix(b []byte) bool {
	for i := 1; i <= min(utf8.UTFMax-1, len(b)); i++ {
		if utf8.RuneStart(b[len(b)-i]) {
			if !utf8.FullRune(b[len(b)-i:]) {
				b = b[:len(b)-i]
			}
			break
		}
	}
	return utf8.Valid(b)
}
