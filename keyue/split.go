package keyue

import (
	"strings"
	"unicode/utf8"

	"waihu"
)

// titleLetters is how much of a piece without a heading becomes its title.
const titleLetters = 40

// splitText cuts a text into pieces of at most o.size letters: at headings (# of Markdown) always, else where o.by says,
// and inside a sentence only when it alone is longer. Each piece is an answer whose question is its heading or its
// beginning.
func splitText(text string, o splitting) (list []entry) {
	s := splitter{o: o}
	n := 0
	for line := range strings.SplitSeq(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n") {
		n++
		line = strings.TrimSpace(line)
		rest := strings.TrimLeft(line, "#")
		heading := len(rest) < len(line) && (rest == "" || rest[0] == ' ')
		switch {
		case line == "":
			if o.by == "" && 2*s.letters >= o.size { // a paragraph's end is a good place to cut
				s.flush(false)
			}
		case heading:
			s.flush(false)
			s.title = cutLetters(strings.TrimSpace(rest), maxQuestion)
		case o.by == "punc":
			for _, sentence := range sentences(line) {
				s.add(n, sentence)
			}
		default:
			s.add(n, line+"\n")
		}
	}
	s.flush(false)
	return s.list
}

// splitter gathers pieces.
type splitter struct {
	o       splitting
	title   string
	line    int // where the present piece begins
	text    strings.Builder
	letters int
	fresh   bool // the present piece has more than what it repeats
	list    []entry
}

func (s *splitter) add(line int, part string) {
	for part != "" {
		n := utf8.RuneCountInString(part)
		if s.letters+n > s.o.size && s.fresh {
			s.flush(true)
		}
		if s.letters == 0 || !s.fresh {
			s.line = line
		}
		now := part
		if room := s.o.size - s.letters; n > room {
			now = cutLetters(part, room)
		}
		s.text.WriteString(now)
		s.letters += utf8.RuneCountInString(now)
		s.fresh = true
		part = part[len(now):]
	}
}

// flush ends the present piece; when the text goes on the next begins with the end of this one.
func (s *splitter) flush(goesOn bool) {
	text := strings.TrimSpace(s.text.String())
	if s.fresh && text != "" {
		title := s.title
		if title == "" {
			first, _, _ := strings.Cut(text, "\n")
			title = cutLetters(first, titleLetters)
		}
		s.list = append(s.list, entry{s.line, waihu.KnowledgeSpec{Q: []string{title}, A: text}})
	}
	s.text.Reset()
	s.letters, s.fresh = 0, false
	if keep := s.o.size * s.o.overlap / 100; goesOn && keep > 0 {
		letters := []rune(text)
		tail := string(letters[max(0, len(letters)-keep):])
		s.text.WriteString(tail)
		s.letters = utf8.RuneCountInString(tail)
	}
}

// sentences cuts a line behind the signs that end one.
func sentences(line string) (list []string) {
	begin := 0
	for i, r := range line {
		if strings.ContainsRune("。！？；!?;", r) {
			end := i + utf8.RuneLen(r)
			list = append(list, line[begin:end])
			begin = end
		}
	}
	if begin < len(line) {
		list = append(list, line[begin:]+"\n")
	}
	return list
}

// cutLetters is the first n letters of a text.
func cutLetters(text string, n int) string {
	for i := range text {
		if n == 0 {
			return text[:i]
		}
		n--
	}
	return text
}
