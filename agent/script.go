package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"waihu"
)

// maxValue bounds a variable's value: longer than anybody wants to hear.
const maxValue = 200

// Script is an agent made ready for one number: every text that it may speak has its
// sound. It is read-only and may be started more than once.
type Script struct {
	p    *program
	vars map[string]string
	pcm  map[string][]int16 // by speakable text; recordings under playKey
	own  int                // samples of the number's own words
}

// OwnBytes is how much memory the sounds of the number's own words take: what the cache holds for this number alone.
func (s *Script) OwnBytes() int { return 2 * s.own }

func playKey(name string) string { return "\x00" + name }

// Prepare makes spec ready to talk to a number with these variables. It is called
// before the dial and may block on sounds as long as ctx allows. Errors: EInvalid when the
// number lacks a required variable or a value cannot be read (the number is refused and
// never dialled; the value is not repeated); else what Sounds said, naming the place in the spec.
func Prepare(ctx context.Context, spec *waihu.AgentSpec, vars map[string]string, sounds Sounds) (*Script, error) {
	p, err := programs.of(spec)
	if err != nil {
		return nil, err
	}
	s := &Script{p: p, vars: map[string]string{}, pcm: map[string][]int16{}}
	if err := s.admit(vars); err != nil {
		return nil, err
	}
	if err := s.renderAll(ctx, sounds); err != nil {
		return nil, err
	}
	return s, nil
}

// PrepareFixed asks sounds for all that every call of spec needs: fixed parts, recordings, what stands in for
// variables, values that the flow sets. numbers says that the texts hold variables besides, so that each number
// has sounds of its own.
func PrepareFixed(ctx context.Context, spec *waihu.AgentSpec, sounds Sounds) (numbers bool, err error) {
	p, err := programs.of(spec)
	if err != nil {
		return false, err
	}
	for _, t := range Texts(spec) {
		parts, err := Cut(t.Text)
		if err != nil {
			return false, waihu.FieldErrorf(t.Where, "%v", err)
		}
		for _, part := range parts {
			numbers = numbers || part.Var != ""
		}
	}
	s := &Script{p: p, vars: map[string]string{}, pcm: map[string][]int16{}}
	return numbers, s.renderAll(ctx, sounds)
}

// renderAll gets the sound of every text.
func (s *Script) renderAll(ctx context.Context, sounds Sounds) error {
	spec := s.p.spec
	for _, t := range Texts(spec) {
		if t.Play != "" {
			pcm, err := sounds.Prompt(ctx, t.Play)
			if err != nil {
				return fmt.Errorf("agent %s, %s: recording %q: %w", spec.ID, t.Where, t.Play, err)
			}
			s.pcm[playKey(t.Play)] = pcm
			continue
		}
		parts, err := Cut(t.Text)
		if err != nil {
			return waihu.FieldErrorf(t.Where, "%v", err)
		}
		for _, part := range parts {
			if err := s.render(ctx, part, sounds); err != nil {
				return fmt.Errorf("agent %s, %s: %w", spec.ID, t.Where, err)
			}
		}
	}
	return nil
}

// admit takes the number's variables.
func (s *Script) admit(vars map[string]string) error {
	for name, value := range vars {
		value = strings.TrimSpace(strings.ToValidUTF8(value, ""))
		if utf8.RuneCountInString(value) > maxValue {
			return waihu.FieldErrorf("vars."+name, "the value is longer than %d characters", maxValue)
		}
		if value != "" {
			s.vars[name] = value
		}
	}
	for _, name := range sortedKeys(s.p.spec.Vars) {
		v := s.p.spec.Vars[name]
		if s.vars[name] == "" {
			if v.Required {
				return waihu.FieldErrorf("vars."+name, "the number has no value for the required variable %q", name)
			}
			continue
		}
		if _, err := Spoken(v.Type, s.p.voice.Language, s.vars[name]); err != nil {
			return waihu.FieldErrorf("vars."+name, "the number's value for %q is %v", name, err)
		}
	}
	return nil
}

// render gets the sounds that a part may need during the call: of the number's value, of every
// value that the flow may set, and of the default when one of those is missing.
func (s *Script) render(ctx context.Context, part Part, sounds Sounds) error {
	if part.Var == "" {
		return s.sound(ctx, Speakable(part.Text), sounds)
	}
	def := s.fallback(part)
	needDefault := s.vars[part.Var] == ""
	for i, value := range append([]string{s.vars[part.Var]}, s.p.sets[part.Var]...) {
		spoken, err := Spoken(s.p.spec.Vars[part.Var].Type, s.p.voice.Language, value)
		if err != nil {
			return fmt.Errorf("{{%s}}: %w", part.Var, err)
		}
		if spoken = Speakable(spoken); spoken == "" {
			needDefault = true
			continue
		}
		known := s.pcm[spoken] != nil
		err = s.sound(ctx, spoken, sounds)
		if i == 0 && !known {
			s.own += len(s.pcm[spoken])
		}
		if err != nil {
			// A name that no voice here can say is no reason to lose the call when
			// the text has other words for it.
			if !errors.Is(err, ErrNoVoice) || def == "" {
				return fmt.Errorf("{{%s}}: %w", part.Var, err)
			}
			needDefault = true
		}
	}
	if !needDefault {
		return nil
	}
	return s.sound(ctx, Speakable(def), sounds)
}

// fallback is what is said for a variable without a value.
func (s *Script) fallback(part Part) string {
	if part.Default != "" {
		return part.Default
	}
	return s.p.spec.Vars[part.Var].Say
}

func (s *Script) sound(ctx context.Context, text string, sounds Sounds) error {
	if text == "" || s.pcm[text] != nil {
		return nil
	}
	pcm, err := sounds.Say(ctx, s.p.voice, text)
	if err != nil {
		return err
	}
	s.pcm[text] = pcm
	return nil
}

// utterance is a line made into sound.
type utterance struct {
	segs  []segment
	total int // samples
}

// segment is a stretch of an utterance: silence, then sound.
type segment struct {
	rest int // samples of silence before
	pcm  []int16
	text string
}

// utterance makes a line into sound with the variables as they are now.
func (s *Script) utterance(l line, vars map[string]string) utterance {
	var u utterance
	add := func(restMS int, pcm []int16, text string) {
		g := segment{rest: restMS * sampleRate / 1000, pcm: pcm, text: text}
		u.segs = append(u.segs, g)
		u.total += g.rest + len(pcm)
	}
	switch {
	case l.rest > 0:
		add(l.rest, nil, "")
	case l.play != "":
		add(0, s.pcm[playKey(l.play)], "["+l.play+"]")
	default:
		parts, _ := Cut(l.text) // Prepare has cut it before
		prev := ""
		for _, part := range parts {
			text := part.Text
			if part.Var != "" {
				text = s.spoken(part, vars)
			}
			rest := 0
			if prev != "" {
				rest = pauseBetween(prev, text)
			}
			pcm := s.pcm[Speakable(text)]
			if pcm == nil {
				rest = 0 // mere punctuation rests before what follows
			}
			if text != "" {
				add(rest, pcm, text)
				prev = text
			}
		}
	}
	return u
}

// spoken is what is said for a variable now.
func (s *Script) spoken(part Part, vars map[string]string) string {
	text, err := Spoken(s.p.spec.Vars[part.Var].Type, s.p.voice.Language, vars[part.Var])
	if err != nil || text == "" || s.pcm[Speakable(text)] == nil {
		return s.fallback(part)
	}
	return text
}

// text is what the first n samples of the utterance say: a segment that was cut gives its
// characters in proportion.
func (u *utterance) text(n int) string {
	var b strings.Builder
	for _, g := range u.segs {
		if n -= g.rest; n < 0 || n == 0 && len(g.pcm) > 0 {
			break
		}
		if n >= len(g.pcm) {
			b.WriteString(g.text)
			n -= len(g.pcm)
			continue
		}
		runes := []rune(g.text)
		b.WriteString(string(runes[:len(runes)*n/len(g.pcm)]))
		break
	}
	return b.String()
}

// read copies the samples from position at into out and says how many it had. out keeps
// its content where the utterance rests.
func (u *utterance) read(at int, out []int16) int {
	n := min(len(out), u.total-at)
	if n <= 0 {
		return 0
	}
	start := 0
	for i := range u.segs {
		g := &u.segs[i]
		start += g.rest
		from := max(at, start)
		to := min(at+n, start+len(g.pcm))
		if from < to {
			copy(out[from-at:to-at], g.pcm[from-start:])
		}
		start += len(g.pcm)
	}
	return n
}
