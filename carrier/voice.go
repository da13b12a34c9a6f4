package carrier

import (
	"embed"
	"math/rand/v2"
	"sync"
	"unicode/utf8"

	"waihu/audio"
)

// What callees and announcements say, A-law at 8 kHz without a header. Made with
//
//	espeak-ng -v cmn-latn-pinyin -s 165 -p 45 -w x.wav TEXT
//	sox x.wav -r 8000 -c 1 -e a-law -t raw NAME.al silence 1 0.02 0.5% reverse silence 1 0.02 0.5% reverse gain -n -4
//
// (announcements and the secretary at -s 200, the greeting at 185, other sentences at 190).
//
//go:embed voice/*.al
var clips embed.FS

var clipOf = map[string]string{
	"喂": "wei", "完好": "wanhao", "坏了": "huaile", "你好": "nihao", "嗯": "en", "等等": "dengdeng", "等一下": "dengyixia",
	"不需要": "buxuyao", "别打了": "biedale", "什么": "shenme", "再见": "zaijian",
	announceVacant: "vacant", announceOff: "off", announceSuspended: "suspended", announceBusy: "busy",
	greeting: "voicemail", story: "story", secretaryText: "secretary", assistantText: "assistant", relayText: "relay", menuText: "menu",
}

const (
	announceVacant    = "您好，您拨打的号码是空号，请核对后再拨。"
	announceOff       = "您好，您拨打的电话已关机。"
	announceSuspended = "您好，您拨打的电话已停机。"
	announceBusy      = "您好，您拨打的电话正在通话中，请稍后再拨。"
	greeting          = "您好，请在嘀声后留言。"
	secretaryText     = "您好，这里是来电提醒服务，您的来电将以短信通知机主。"
	assistantText     = "您好，我是机主的智能助理，请问您找他有什么事？"
	relayText         = "好的，我会转告机主，再见。"
	menuText          = "您好，欢迎致电，人工服务请按零。"
	story             = "我跟你说，那个快递昨天下午就到了，我当时在开会，让同事帮我拿的。"
)

// Levels in dBFS.
const (
	noiseLevel  = -28
	babbleLevel = -38
	toneLevel   = -16
	syllable    = 200 // ms of noise for a character that has no clip
)

// voices renders and keeps the sounds of callees.
type voices struct {
	mu    sync.Mutex
	cache map[string][]int16 // guarded by mu
}

func newVoices() *voices { return &voices{cache: map[string][]int16{}} }

// once renders a sound the first time it is wanted. The result is shared: nobody writes to it.
func (v *voices) once(key string, render func() []int16) []int16 {
	v.mu.Lock()
	defer v.mu.Unlock()
	s, ok := v.cache[key]
	if !ok {
		s = render()
		v.cache[key] = s
	}
	return s
}

// plain is the sound of a text without subtitle.
func (v *voices) plain(text string) []int16 {
	return v.once("plain "+text, func() []int16 { return voiceOf(text) })
}

// say is what a callee sends when it says a text: its voice with the subtitle beneath.
func (v *voices) say(text string) []int16 {
	return v.once("say "+text, func() []int16 { return audio.UnderSpeech(voiceOf(text), text, audio.ModemLevel) })
}

// voiceOf is the clip of a text, or bursts of noise as long as speaking it takes.
func voiceOf(text string) []int16 {
	if name, ok := clipOf[text]; ok {
		b, err := clips.ReadFile("voice/" + name + ".al")
		if err != nil {
			panic("carrier: an embedded clip is missing: " + name)
		}
		pcm := make([]int16, len(b))
		audio.DecodeALaw(pcm, b)
		return pcm
	}
	var pcm []int16
	for range utf8.RuneCountInString(text) {
		pcm = append(pcm, noise(syllable*8*3/4, noiseLevel)...)
		pcm = append(pcm, make([]int16, syllable*8/4)...)
	}
	return pcm
}

// noise is n samples of noise with a soft begin and end; always the same.
func noise(n int, dbfs float64) []int16 {
	rng := rand.New(rand.NewPCG(1, 2))
	pcm := make([]int16, n)
	for i := range pcm {
		edge := min(i, n-i, 80)
		pcm[i] = int16(rng.NormFloat64() * 8000 * float64(edge) / 80)
	}
	audio.Gain(pcm, dbfs-audio.Level(pcm))
	return pcm
}

// babble is four seconds of many voices at once.
func (v *voices) babble() []int16 {
	return v.once("babble", func() []int16 {
		long := voiceOf(story)
		pcm := make([]int16, 4*audio.SampleRate)
		for i := range 6 {
			audio.Mix(pcm, long[i*3000:])
		}
		audio.Gain(pcm, babbleLevel-audio.Level(pcm))
		return pcm
	})
}

// ringing is one period of a ring-back that is music (a colour ring): three notes and a rest.
func (v *voices) ringing() []int16 {
	return v.once("ringing", func() []int16 {
		var pcm []int16
		for _, hz := range []float64{523, 659, 784, 1046} {
			pcm = append(pcm, audio.Tone(audio.SampleRate/4, toneLevel, hz, hz*1.5)...)
		}
		return append(pcm, make([]int16, audio.SampleRate/4)...)
	})
}

// fax is the calling tone of a fax machine (CNG): 1100 Hz, half a second in three and a half.
func (v *voices) fax() []int16 {
	return v.once("fax", func() []int16 {
		return append(audio.Tone(audio.SampleRate/2, toneLevel, 1100), make([]int16, 3*audio.SampleRate)...)
	})
}

func (v *voices) beep() []int16 {
	return v.once("beep", func() []int16 { return audio.Tone(audio.SampleRate/2, toneLevel, 1000) })
}
