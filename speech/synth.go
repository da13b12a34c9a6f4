package speech

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"waihu"
	"waihu/agent"
)

// Defaults of Options.
const (
	DefaultCacheBytes = 64 << 20 // about an hour of speech
	DefaultTimeout    = 10 * time.Second
)

// Options configure a Synth. The zero value is usable.
type Options struct {
	// Espeak is the espeak-ng program: a path, "" for the one in PATH when there is one, "off" for none.
	Espeak string
	// Prompts is a folder of the operator's WAV recordings; see Folder. Empty: none.
	Prompts string
	// CacheBytes bounds the sounds that are kept; 0 means DefaultCacheBytes.
	CacheBytes int64
	// Concurrency bounds the processes that run at a time; 0 means the number of cores.
	Concurrency int
	// Timeout bounds one process; 0 means DefaultTimeout.
	Timeout time.Duration
}

// Synth turns texts into sound. Safe for concurrent use.
type Synth struct {
	espeak  string // path; "" when there is none
	timeout time.Duration
	folder  *Folder
	slots   *semaphore.Weighted
	cache   *cache

	mu      sync.Mutex
	flights map[string]*flight
}

// NewSynth prepares a Synth. It reads the folder's index, and starts nothing.
func NewSynth(o Options) (*Synth, error) {
	s := &Synth{timeout: o.Timeout, cache: newCache(o.CacheBytes), flights: map[string]*flight{}}
	if s.timeout == 0 {
		s.timeout = DefaultTimeout
	}
	if o.CacheBytes == 0 {
		s.cache.limit = DefaultCacheBytes
	}
	n := o.Concurrency
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	s.slots = semaphore.NewWeighted(int64(n))
	switch o.Espeak {
	case "off":
	case "":
		s.espeak, _ = exec.LookPath(espeakProgram) // its absence is no error: prompts may do
	default:
		path, err := exec.LookPath(o.Espeak)
		if err != nil {
			return nil, fmt.Errorf("espeak-ng at %q: %w", o.Espeak, err)
		}
		s.espeak = path
	}
	if o.Prompts != "" {
		f, err := OpenFolder(o.Prompts)
		if err != nil {
			return nil, err
		}
		s.folder = f
	}
	return s, nil
}

// Say is text as spoken by v: 8 kHz, about -20 dBFS, no silence at the ends. The slice is
// shared: it must not be changed. A text without a voice is an error that wraps agent.ErrNoVoice and does not repeat
// the text, which may be somebody's name.
func (s *Synth) Say(ctx context.Context, v agent.Voice, text string) ([]int16, error) {
	text = agent.Speakable(text)
	if text == "" {
		return nil, fmt.Errorf("%w: it has no words", agent.ErrNoVoice)
	}
	if v.TTS != "" && v.TTS != espeakProgram && v.TTS != "espeak" {
		return nil, fmt.Errorf("%w: the voice service %q is not part of this version; leave voice.tts out for espeak-ng", agent.ErrNoVoice, v.TTS)
	}
	key := cacheKey(v, text)
	for {
		if pcm := s.cache.get(key); pcm != nil {
			return pcm, nil
		}
		// Many calls of a campaign want the same sentence at once: the first renders it.
		mine, first := s.join(key)
		if first {
			mine.pcm, mine.err = s.find(ctx, v, text)
			if mine.err == nil {
				s.cache.put(key, mine.pcm)
			}
			s.leave(key, mine)
			return mine.pcm, mine.err
		}
		select {
		case <-mine.done:
			if mine.err == nil {
				return mine.pcm, nil
			}
			// The first may have failed because its own call was given up; then it is our turn.
			if !errors.Is(mine.err, context.Canceled) && !errors.Is(mine.err, context.DeadlineExceeded) || ctx.Err() != nil {
				return nil, mine.err
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for a text's sound: %w", ctx.Err())
		}
	}
}

// flight is a sound that is being made.
type flight struct {
	done chan struct{} // closed when pcm and err are set
	pcm  []int16
	err  error
}

// join finds who makes the sound already, or makes the caller the one who does.
func (s *Synth) join(key string) (f *flight, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.flights[key]; f != nil {
		return f, false
	}
	f = &flight{done: make(chan struct{})}
	s.flights[key] = f
	return f, true
}

func (s *Synth) leave(key string, f *flight) {
	s.mu.Lock()
	delete(s.flights, key)
	s.mu.Unlock()
	close(f.done)
}

// find looks in the places in order.
func (s *Synth) find(ctx context.Context, v agent.Voice, text string) ([]int16, error) {
	if s.folder != nil {
		if pcm, err := s.folder.text(text); err != nil || pcm != nil {
			return pcm, err
		}
	}
	if houseVoice(v) {
		if pcm := shipped(text); pcm != nil {
			return loudness(pcm, v.Volume), nil
		}
	}
	if s.espeak == "" {
		return nil, fmt.Errorf("%w in %s: %s", agent.ErrNoVoice, v.Language, installHint)
	}
	if err := s.slots.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer s.slots.Release(1)
	return s.runEspeak(ctx, v, text)
}

// installHint tells the operator what to do about a text without a voice.
const installHint = "no prompt has this text and espeak-ng is not installed: run `apt-get install espeak-ng`, or put a WAV for it into the prompts folder"

// Prompt is a recording of the operator's folder.
func (s *Synth) Prompt(_ context.Context, name string) ([]int16, error) {
	if s.folder == nil {
		return nil, fmt.Errorf("%w: there is no prompts folder to take %q from", agent.ErrNoVoice, name)
	}
	return s.folder.file(name)
}

// Render makes every sound that spec needs for a number with these variables, so that Prepare
// finds them in the cache: the look-ahead of the dial. It says how many bytes the number's own words take.
func (s *Synth) Render(ctx context.Context, spec *waihu.AgentSpec, vars map[string]string) (bytes int, err error) {
	script, err := agent.Prepare(ctx, spec, vars, s)
	if err != nil {
		return 0, err
	}
	return script.OwnBytes(), nil
}

// Room is how many bytes of sounds made ahead the cache may hold beside those in use: with more, the first to be wanted
// would be the first to go.
func (s *Synth) Room() int { return int(s.cache.limit / 2) }

// RenderFixed makes every sound that all calls of spec need, once. numbers says that each number has
// sounds of its own besides, which Render makes.
func (s *Synth) RenderFixed(ctx context.Context, spec *waihu.AgentSpec) (numbers bool, err error) {
	return agent.PrepareFixed(ctx, spec, s)
}

// Missing lists the texts of a flow agent that nothing here can speak, with the node and what to do. It
// renders nothing but one short word, so it is cheap at a task's start. Values of variables are unknown here: a
// text with a variable is missing only when neither a voice nor a default can stand in.
func (s *Synth) Missing(spec *waihu.AgentSpec) []waihu.Problem {
	var out []waihu.Problem
	v, spoken := agent.VoiceOf(spec), false
	for _, t := range agent.Texts(spec) {
		at := t.Where
		if t.Node != "" {
			at = fmt.Sprintf("node %s (%s)", t.Node, t.Where)
		}
		report := func(format string, args ...any) {
			out = append(out, waihu.Problem{Field: t.Where, Message: at + ": " + fmt.Sprintf(format, args...)})
		}
		if t.Play != "" {
			if _, err := s.Prompt(context.Background(), t.Play); err != nil {
				report("the recording %q cannot be played: %v", t.Play, err)
			}
			continue
		}
		parts, err := agent.Cut(t.Text)
		if err != nil {
			report("%v", err)
			continue
		}
		for _, p := range parts {
			text := p.Text
			if p.Var != "" {
				if text = p.Default; text == "" {
					text = spec.Vars[p.Var].Say
				}
				spoken = spoken || text == ""
				if text == "" && s.espeak == "" {
					report("{{%s}} cannot be spoken: espeak-ng is not installed (run `apt-get install espeak-ng`) and there is no default such as {{%s|您}}", p.Var, p.Var)
					continue
				}
			}
			if text = agent.Speakable(text); text == "" {
				continue
			}
			if err := s.can(v, text); err != nil {
				report("nobody can say %q: %v", shorten(text), err)
			}
			spoken = spoken || !s.recorded(v, text)
		}
	}
	if spoken && len(out) == 0 && s.espeak != "" { // a voice, or a language, that espeak-ng does not have would end every call
		if _, err := s.Say(context.Background(), v, "1"); errors.Is(err, agent.ErrNoVoice) {
			field, what := "voice.voice", "voice "+strconv.Quote(v.Name)
			if v.Name == "" {
				field, what = "language", "voice for the language "+strconv.Quote(v.Language)
			}
			out = append(out, waihu.Problem{Field: field, Message: "espeak-ng has no " + what + ": `espeak-ng --voices` lists what it has"})
		}
	}
	return out
}

// recorded says whether a recording has the text in this voice.
func (s *Synth) recorded(v agent.Voice, text string) bool {
	return s.folder != nil && s.folder.has(text) || houseVoice(v) && shippedHas(text)
}

// can says whether the text has a sound, without making it.
func (s *Synth) can(v agent.Voice, text string) error {
	if v.TTS != "" && v.TTS != espeakProgram && v.TTS != "espeak" {
		return fmt.Errorf("the voice service %q is not part of this version", v.TTS)
	}
	switch {
	case s.recorded(v, text):
		return nil
	case s.espeak == "":
		return errors.New(installHint)
	}
	_, err := espeakVoice(v)
	return err
}

func shorten(text string) string {
	if r := []rune(text); len(r) > 20 {
		return string(r[:20]) + "…"
	}
	return text
}

// houseVoice says that the agent asks for nothing but the default voice, which the shipped prompts have.
func houseVoice(v agent.Voice) bool {
	return v.Name == "" && (v.Speed == 1 || v.Speed == 0) && strings.HasPrefix(strings.ToLower(v.Language), "zh")
}

// readFile bounds what is taken from the operator's folder.
func readFile(path string) ([]byte, error) {
	const most = 32 << 20
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > most {
		return nil, fmt.Errorf("%d bytes are more than %d", info.Size(), most)
	}
	return os.ReadFile(path)
}
