package agent

import (
	"context"
	"errors"

	"waihu"
	"waihu/audio"
)

// FrameSamples is the length of a frame: 20 ms at 8 kHz.
const FrameSamples = audio.FrameSamples

const (
	sampleRate = audio.SampleRate
	frameMS    = audio.FrameMS
)

// ErrNoVoice says that nothing here can speak a text. Sounds wrap it.
var ErrNoVoice = errors.New("no voice for the text")

// Voice is who speaks.
type Voice struct {
	Language string  // BCP 47
	TTS      string  // which engine; empty: the house's own
	Name     string  // the engine's voice; empty: its default for the language
	Speed    float64 // 1 is normal
	Volume   int     // 50 is normal
}

// VoiceOf is the voice that spec asks for.
func VoiceOf(spec *waihu.AgentSpec) Voice {
	v := Voice{Language: spec.Language, TTS: spec.Voice.TTS, Name: spec.Voice.Voice, Speed: spec.Voice.Speed, Volume: spec.Voice.Volume}
	if v.Language == "" {
		v.Language = "zh-CN"
	}
	if v.Speed == 0 {
		v.Speed = 1
	}
	if v.Volume == 0 {
		v.Volume = 50
	}
	return v
}

// Sounds gives texts a sound: linear samples at 8 kHz without silence at either
// end. It may be called by many at once and may take its time; the slices are
// shared and never written to. A text nobody can speak is an error that wraps ErrNoVoice.
type Sounds interface {
	// Say is text as spoken by v.
	Say(ctx context.Context, v Voice, text string) ([]int16, error)
	// Prompt is the recording of that name.
	Prompt(ctx context.Context, name string) ([]int16, error)
}

// Recognizer hears one callee. Frame and Finalize are called on the media thread
// and must neither wait nor allocate without need: an implementation that talks to
// a server keeps a bounded queue in each direction and hands out here what has arrived.
type Recognizer interface {
	// Name is kept with the transcript.
	Name() string
	// Frame takes the next 20 ms of the callee's sound (lost: a stand-in for a packet
	// that never came) and returns what became known. The result is valid until the next call.
	Frame(pcm []int16, lost bool) []Heard
	// Finalize asks for the final text of what was said so far: the callee has been silent
	// long enough. A final event must follow from a later Frame, with an empty text when there
	// was none: words that arrive before it belong to the past, for three seconds at most.
	Finalize()
}

// Heard is an event of a Recognizer.
type Heard struct {
	Text  string // all of the utterance that is known so far
	Final bool   // the utterance is over, the next event begins another
	Noise bool   // not speech: Text names the sound
}
