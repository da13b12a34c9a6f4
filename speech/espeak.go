package speech

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"strconv"
	"strings"
	"time"
	"unicode"

	"waihu/agent"
	"waihu/audio"
)

// espeak-ng (GPL-3) is run as an external process, never linked. The voice "cmn" of
// version 1.51 spells Chinese characters in English (its issues 1028, 1330 and others);
// "cmn-latn-pinyin" reads them with their tones, digits too.
const (
	espeakProgram = "espeak-ng"
	espeakWPM     = 175 // its normal speed
	maxText       = 2000
	maxSound      = 120 * 22050 * 2 // bytes of a minute or two: more is a broken answer
)

// espeakVoice is the voice for a language. Names are handed to a process as an argument, so only
// the letters of a voice's name pass.
func espeakVoice(v agent.Voice) (string, error) {
	if v.Name != "" {
		if strings.Trim(v.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-_") != "" || v.Name[0] == '-' || len(v.Name) > 40 {
			return "", fmt.Errorf("%q is not a name of an espeak-ng voice", v.Name)
		}
		return v.Name, nil
	}
	lang := strings.ToLower(v.Language)
	base, _, _ := strings.Cut(lang, "-")
	switch {
	case base == "zh" && (strings.HasPrefix(lang, "zh-hk") || strings.HasPrefix(lang, "zh-mo")), base == "yue":
		return "yue", nil
	case base == "zh" || base == "cmn" || base == "":
		return "cmn-latn-pinyin", nil
	case len(base) < 2 || len(base) > 3 || strings.Trim(base, "abcdefghijklmnopqrstuvwxyz") != "":
		return "", fmt.Errorf("%q is not a language", v.Language)
	case lang == "en-gb" || lang == "en-us" || lang == "pt-br" || lang == "fr-fr":
		return lang, nil
	}
	return base, nil
}

// plain removes what espeak-ng takes for commands: control characters and [[phonemes]].
func plain(text string) string {
	text = strings.NewReplacer("[[", "[ [", "]]", "] ]").Replace(text)
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// runEspeak speaks the text and makes it telephone sound.
func (s *Synth) runEspeak(ctx context.Context, v agent.Voice, text string) ([]int16, error) {
	voice, err := espeakVoice(v)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", agent.ErrNoVoice, err)
	}
	if len(text) > maxText {
		return nil, fmt.Errorf("%w: a text of %d bytes, %d at most", agent.ErrNoVoice, len(text), maxText)
	}
	speed := int(math.Round(espeakWPM * v.Speed))
	if speed == 0 {
		speed = espeakWPM
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.espeak, "-b", "1", "-v", voice, "-s", strconv.Itoa(min(max(speed, 80), 450)), "--stdin", "--stdout")
	cmd.Stdin = strings.NewReader(plain(text))
	out, complaint := &limitedBuffer{limit: maxSound, full: cancel}, &limitedBuffer{limit: 4096, full: cancel}
	cmd.Stdout, cmd.Stderr = out, complaint
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if out.over || complaint.over {
			return nil, fmt.Errorf("espeak-ng: %w", errTooMuch)
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("espeak-ng gave no answer within %v: %w", s.timeout, ctx.Err())
		}
		return nil, fmt.Errorf("%w: espeak-ng with voice %s: %w: %s", agent.ErrNoVoice, voice, err, strings.TrimSpace(complaint.got.String()[:min(complaint.got.Len(), 300)]))
	}
	wav, err := audio.ReadWAV(out.got.Bytes())
	if err != nil {
		return nil, fmt.Errorf("espeak-ng's answer: %w", err)
	}
	pcm := trim(level(audio.Resample(wav.Mono(), wav.Rate, audio.SampleRate)))
	if len(pcm) == 0 {
		return nil, fmt.Errorf("%w: espeak-ng with voice %s is silent on it", agent.ErrNoVoice, voice)
	}
	return loudness(pcm, v.Volume), nil
}

// limitedBuffer refuses more than limit bytes and ends the process that writes them: it would
// wait for a reader otherwise.
type limitedBuffer struct {
	got   bytes.Buffer // not embedded: its ReadFrom would go around the limit
	limit int
	full  func()
	over  bool
}

var errTooMuch = errors.New("more output than expected")

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.got.Len()+len(p) > b.limit {
		b.over = true
		b.full()
		return 0, errTooMuch
	}
	return b.got.Write(p)
}

// The house's level: -20 dBFS while it sounds, no peak above -3.
const (
	speechLevel = -20.0
	speechPeak  = -3.0
	silenceDB   = -50.0 // of a stretch at the ends that is cut off
)

// level brings speech to the house's level, measured over its loud parts: pauses say
// nothing about how loud a voice is.
func level(pcm []int16) []int16 {
	sum, n := 0.0, 0
	for i := 0; i+audio.FrameSamples <= len(pcm); i += audio.FrameSamples {
		if frame := pcm[i : i+audio.FrameSamples]; audio.Level(frame) > silenceDB+10 {
			for _, v := range frame {
				sum += float64(v) * float64(v)
			}
			n += audio.FrameSamples
		}
	}
	if n == 0 {
		return pcm
	}
	gain := speechLevel - 10*math.Log10(sum/float64(n)/(32768*32768))
	gain = min(gain, speechPeak-audio.Peak(pcm))
	out := append([]int16(nil), pcm...)
	audio.Gain(out, gain)
	return out
}

// trim cuts silence off both ends, in place: rests are the agent's to make, and the first word must not wait. What is
// left rises and falls over a millisecond, so that no cut clicks.
func trim(pcm []int16) []int16 {
	const block = audio.SampleRate / 200 // 5 ms
	first, last := 0, len(pcm)
	for first+block <= last && audio.Level(pcm[first:first+block]) < silenceDB {
		first += block
	}
	for last-block >= first && audio.Level(pcm[last-block:last]) < silenceDB {
		last -= block
	}
	pcm = pcm[first:last]
	const ramp = audio.SampleRate / 1000
	for i := range min(ramp, len(pcm)/2) {
		pcm[i] = int16(int(pcm[i]) * i / ramp)
		end := len(pcm) - 1 - i
		pcm[end] = int16(int(pcm[end]) * i / ramp)
	}
	return pcm
}

// loudness applies the volume setting: 50 is as it is, each step of 50 changes 10 dB, 0 is the least.
func loudness(pcm []int16, volume int) []int16 {
	if volume == 50 || volume == 0 {
		return pcm
	}
	out := append([]int16(nil), pcm...)
	audio.Gain(out, min(float64(volume-50)/5, speechPeak-audio.Peak(pcm)))
	return out
}
