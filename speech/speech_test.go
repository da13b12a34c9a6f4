package speech

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"waihu"
	"waihu/agent"
	"waihu/audio"
)

var update = flag.Bool("update", false, "make the shipped prompts anew (needs espeak-ng)")

var zh = agent.Voice{Language: "zh-CN", Speed: 1, Volume: 50}

func newSynth(t testing.TB, o Options) *Synth {
	t.Helper()
	s, err := NewSynth(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func needEspeak(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath(espeakProgram); err != nil {
		if os.Getenv("WAIHU_TEST_REQUIRE") != "" {
			t.Fatal("espeak-ng is not installed")
		}
		t.Skip("espeak-ng is not installed")
	}
}

func promptTexts(t testing.TB) []string {
	t.Helper()
	raw, err := os.ReadFile("prompts/texts.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(raw)), "\n")
}

func survey(t testing.TB) *waihu.AgentSpec {
	t.Helper()
	raw, err := os.ReadFile("testdata/survey.json")
	if err != nil {
		t.Fatal(err)
	}
	var spec waihu.AgentSpec
	if err := json.Unmarshal(raw, &spec); err != nil {
		t.Fatal(err)
	}
	return &spec
}

// The shipped prompts are all there, sound like the house, and nothing else is shipped.
func TestPromptsShip(t *testing.T) {
	if *update {
		makePrompts(t)
	}
	t.Parallel()
	want := map[string]bool{}
	for _, text := range promptTexts(t) {
		want[PromptName(text)+".wav"] = true
		pcm := shipped(text)
		if pcm == nil {
			t.Errorf("%q is not shipped", text)
			continue
		}
		soundsRight(t, text, pcm)
	}
	entries, err := shippedFiles.ReadDir("prompts")
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
		if !want[e.Name()] {
			t.Errorf("prompts/%s belongs to no text of texts.txt", e.Name())
		}
	}
	if total > 1500<<10 {
		t.Errorf("the prompts have %d bytes, 1.5 MB at most", total)
	}
	t.Logf("%d prompts, %d bytes", len(entries), total)
}

// soundsRight holds a sound to the house's figures: about -20 dBFS while it sounds, no peak above -3 (a code of G.711
// may round up by 0.1), not clipped, at most 60 ms of near silence at the ends, which meet silence without a step.
func soundsRight(t *testing.T, name string, pcm []int16) {
	t.Helper()
	const block = audio.SampleRate / 200
	var loud []int16
	for i := 0; i+block <= len(pcm); i += block {
		if b := pcm[i : i+block]; audio.Level(b) > silenceDB+10 {
			loud = append(loud, b...)
		}
	}
	if l, p := audio.Level(loud), audio.Peak(pcm); l < -23 || l > -18 || p > -2.9 {
		t.Errorf("%q: level %.1f dBFS, peak %.1f", name, l, p)
	}
	lead, trail := 0, 0
	for lead < len(pcm) && audio.Level(pcm[lead:min(lead+block, len(pcm))]) < silenceDB {
		lead += block
	}
	for trail < len(pcm) && audio.Level(pcm[max(0, len(pcm)-trail-block):len(pcm)-trail]) < silenceDB {
		trail += block
	}
	if most := 60 * audio.SampleRate / 1000; lead > most || trail > most {
		t.Errorf("%q: %d and %d samples of silence at the ends", name, lead, trail)
	}
	if first, last := pcm[0], pcm[len(pcm)-1]; max(first, -first, last, -last) > 64 {
		t.Errorf("%q begins at %d and ends at %d: a click", name, first, last)
	}
}

func makePrompts(t *testing.T) {
	needEspeak(t)
	s := newSynth(t, Options{})
	for _, text := range promptTexts(t) {
		pcm, err := s.runEspeak(t.Context(), zh, agent.Speakable(text))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		b := audio.AppendWAVHeader(nil, audio.WAVALaw, 1, audio.SampleRate, int64(len(pcm)))
		line := make([]byte, len(pcm))
		audio.EncodeALaw(line, pcm)
		if err := os.WriteFile(filepath.Join("prompts", PromptName(text)+".wav"), append(b, line...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The demo must run on a machine with Go alone.
func TestFixtureSpeaksWithoutEspeak(t *testing.T) {
	t.Parallel()
	s := newSynth(t, Options{Espeak: "off"})
	spec := survey(t)
	if p := s.Missing(spec); len(p) > 0 {
		t.Errorf("missing: %v", p)
	}
	// A name that no prompt has gives way to the text's own default.
	for _, vars := range []map[string]string{nil, {"name": "欧阳女士"}} {
		if _, err := agent.Prepare(t.Context(), spec, vars, s); err != nil {
			t.Errorf("%v: %v", vars, err)
		}
	}
}

func TestMissingNamesNodeAndCommand(t *testing.T) {
	t.Parallel()
	s := newSynth(t, Options{Espeak: "off"})
	spec := survey(t)
	n := spec.Flow.Nodes["sorry"]
	n.Say = "这句话没有录音，{{name}}。"
	spec.Flow.Nodes["sorry"] = n
	n = spec.Flow.Nodes["bye"]
	n.Say, n.Play = "", "jingle"
	spec.Flow.Nodes["bye"] = n
	got := s.Missing(spec)
	if len(got) != 3 {
		t.Fatalf("%+v", got)
	}
	for i, want := range []string{"jingle", "apt-get install espeak-ng", "apt-get install espeak-ng"} {
		if !strings.Contains(got[i].Message, want) || !strings.Contains(got[i].Message, "node ") {
			t.Errorf("%+v: wanted the node and %q", got[i], want)
		}
	}
	if got[1].Field != "flow.nodes.sorry.say" {
		t.Errorf("field %q", got[1].Field)
	}
	spec.Voice.TTS = "cosyvoice-main"
	if got := s.Missing(spec); len(got) == 0 || !strings.Contains(got[0].Message, "cosyvoice-main") {
		t.Errorf("another voice service: %+v", got)
	}
}

// TestMissingVoice: a voice that espeak-ng does not have stands against a start, unless every text is recorded.
func TestMissingVoice(t *testing.T) {
	t.Parallel()
	needEspeak(t)
	s := newSynth(t, Options{})
	spec := survey(t)
	spec.Voice.Voice = "nobody"
	if got := s.Missing(spec); len(got) != 1 || got[0].Field != "voice.voice" || !strings.Contains(got[0].Message, "nobody") {
		t.Errorf("%+v", got)
	}
	spec.Voice.Voice, spec.Language = "", "xx"
	if got := s.Missing(spec); len(got) != 1 || got[0].Field != "language" {
		t.Errorf("%+v", got)
	}
	spec.Voice.Voice, spec.Language = "cmn-latn-pinyin+f2", "zh-CN"
	if got := s.Missing(spec); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestEspeakSpeaks(t *testing.T) {
	t.Parallel()
	needEspeak(t)
	s := newSynth(t, Options{})
	for _, v := range []agent.Voice{zh, {Language: "en-US", Speed: 1.2, Volume: 50}, {Language: "zh-CN", Name: "cmn-latn-pinyin+f2", Speed: 0.8, Volume: 50}} {
		text := "王先生，您的账单是一百二十元。"
		if v.Language != "zh-CN" {
			text = "Good morning, this is a test call."
		}
		pcm, err := s.Say(t.Context(), v, text)
		if err != nil {
			t.Fatal(err)
		}
		if sec := float64(len(pcm)) / audio.SampleRate; sec < 1 || sec > 6 {
			t.Errorf("%+v: %.1f s", v, sec)
		}
		soundsRight(t, v.Language, pcm)
		again, err := s.Say(t.Context(), v, text)
		if err != nil || &again[0] != &pcm[0] {
			t.Errorf("%+v: rendered twice (%v)", v, err)
		}
	}
	loud, err := s.Say(t.Context(), agent.Voice{Language: "zh-CN", Speed: 1, Volume: 40}, "您好")
	if err != nil {
		t.Fatal(err)
	}
	if normal, _ := s.Say(t.Context(), zh, "您好"); audio.Level(normal)-audio.Level(loud) < 1.5 {
		t.Errorf("volume 40 is %.1f dBFS, 50 is %.1f", audio.Level(loud), audio.Level(normal))
	}
	if _, err := s.Say(t.Context(), agent.Voice{Language: "xx", Speed: 1, Volume: 50}, "hello"); !errors.Is(err, agent.ErrNoVoice) {
		t.Errorf("a language without a voice: %v", err)
	}
	for _, bad := range []string{"-w/tmp/x", "a b", "../../etc"} {
		if _, err := s.Say(t.Context(), agent.Voice{Language: "zh", Name: bad, Speed: 1, Volume: 50}, "好"); !errors.Is(err, agent.ErrNoVoice) {
			t.Errorf("voice name %q: %v", bad, err)
		}
	}
}

// writeProgram writes a program while no other is being started: a child of another test that had the file open for writing, be it
// for a moment, would make it "text file busy".
func writeProgram(t *testing.T, path, text string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// A program that hangs costs its timeout, one that fails or floods is named.
func TestEspeakMisbehaves(t *testing.T) {
	t.Parallel()
	script := func(body string) string {
		path := filepath.Join(t.TempDir(), "espeak-ng")
		writeProgram(t, path, "#!/bin/sh\n"+body+"\n")
		return path
	}
	for name, tc := range map[string]struct {
		body, want string
		timeout    time.Duration
	}{
		"hangs":   {"exec sleep 60", "no answer within", 200 * time.Millisecond},
		"fails":   {"echo no such voice >&2; exit 1", "no such voice", 20 * time.Second},
		"floods":  {"exec cat /dev/zero", "more output than expected", 20 * time.Second},
		"garbage": {"echo hello", "espeak-ng's answer", 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSynth(t, Options{Espeak: script(tc.body), Timeout: tc.timeout})
			_, err := s.Say(t.Context(), zh, "没有录音的话")
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "没有录音") {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := NewSynth(Options{Espeak: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("a program that is not there was accepted")
	}
}

// Many calls that want the same sentence at once start one process; one that gives up waiting
// does so at once. When the one who renders gives up, another takes over.
func TestOneProcessForManyCallers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wav := filepath.Join(dir, "out.wav")
	if err := os.WriteFile(wav, audio.WriteWAV(22050, audio.Tone(22050, -20, 300)), 0o644); err != nil {
		t.Fatal(err)
	}
	gate := filepath.Join(dir, "gate")
	if err := exec.Command("mkfifo", gate).Run(); err != nil {
		t.Skip("no mkfifo here")
	}
	program := filepath.Join(dir, "espeak-ng")
	writeProgram(t, program, "#!/bin/sh\necho run >> "+dir+"/runs\nread x < "+gate+"\ncat "+wav+"\n")
	s := newSynth(t, Options{Espeak: program})
	var wg sync.WaitGroup
	defer wg.Wait()
	errs := make([]error, 8)
	wg.Go(func() { _, errs[0] = s.Say(t.Context(), zh, "同一句没有录音的话") })
	open, err := os.OpenFile(gate, os.O_WRONLY, 0) // returns when the process reads: it has started
	if err != nil {
		t.Fatal(err)
	}
	for i := range errs[1:] {
		i++
		wg.Go(func() { _, errs[i] = s.Say(t.Context(), zh, "同一句没有录音的话") })
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Say(gone, zh, "同一句没有录音的话"); !errors.Is(err, context.Canceled) {
		t.Errorf("the caller who gave up: %v", err)
	}
	if _, err := open.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	open.Close()
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if runs, _ := os.ReadFile(filepath.Join(dir, "runs")); string(runs) != "run\n" {
		t.Errorf("processes: %q", runs)
	}
}

func TestRenderingIsTakenOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wav, gate, program := filepath.Join(dir, "out.wav"), filepath.Join(dir, "gate"), filepath.Join(dir, "espeak-ng")
	if err := os.WriteFile(wav, audio.WriteWAV(22050, audio.Tone(22050, -20, 300)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("mkfifo", gate).Run(); err != nil {
		t.Skip("no mkfifo here")
	}
	// The first process waits for ever, any further one answers.
	writeProgram(t, program, "#!/bin/sh\nif mkdir "+dir+"/ran; then exec cat "+gate+"; fi\nexec cat "+wav+"\n")
	s := newSynth(t, Options{Espeak: program})
	gone, cancel := context.WithCancel(t.Context())
	defer cancel()
	first, second := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := s.Say(gone, zh, "同一句没有录音的话")
		first <- err
	}()
	open, err := os.OpenFile(gate, os.O_WRONLY, 0) // returns when the first process reads
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	go func() {
		_, err := s.Say(t.Context(), zh, "同一句没有录音的话")
		second <- err
	}()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("the second: %v", err)
	}
}

func TestFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tone := audio.Tone(4000, -20, 440)
	write("hello.wav", audio.WriteWAV(8000, append(make([]int16, 2000), tone...)))
	write(PromptName("再会。")+".wav", audio.WriteWAV(16000, audio.Tone(8000, -20, 440)))
	write("broken.wav", []byte("RIFF????"))
	write("index.yaml", []byte("您好，朋友: hello.wav\n坏的: broken\n"))
	s := newSynth(t, Options{Espeak: "off", Prompts: dir})
	if pcm, err := s.Say(t.Context(), zh, "您好，朋友。"); err != nil || len(pcm) < 3900 || len(pcm) > 4100 {
		t.Errorf("by index: %d samples, %v", len(pcm), err)
	}
	if pcm, err := s.Say(t.Context(), zh, "再会"); err != nil || len(pcm) < 3900 || len(pcm) > 4100 {
		t.Errorf("by hash, from 16 kHz: %d samples, %v", len(pcm), err)
	}
	if pcm, err := s.Prompt(t.Context(), "hello"); err != nil || len(pcm) != 6000 {
		t.Errorf("by name: %d samples, %v", len(pcm), err)
	}
	if _, err := s.Say(t.Context(), zh, "坏的"); !errors.Is(err, audio.ErrWAV) {
		t.Errorf("a broken file: %v", err)
	}
	for _, name := range []string{"../secret", "/etc/passwd", "none"} {
		if _, err := s.Prompt(t.Context(), name); err == nil {
			t.Errorf("%q was played", name)
		}
	}
	for _, bad := range []string{"[a, b]", "您好: ../x.wav", "您好: {a: b}"} {
		other := t.TempDir()
		if err := os.WriteFile(filepath.Join(other, "index.yaml"), []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenFolder(other); err == nil {
			t.Errorf("the index %q was accepted", bad)
		}
	}
	if _, err := OpenFolder(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there was accepted")
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := newCache(10 * (2*1000 + overhead))
	for i := range 50 {
		c.put(string(rune('a'+i)), make([]int16, 1000))
		if c.get("a") == nil && i < 20 { // used all the time, so it stays
			t.Fatalf("after %d sounds the one in use is gone", i)
		}
		if c.used > c.limit || int64(c.order.Len())*(2000+overhead) != c.used || len(c.byKey) != c.order.Len() {
			t.Fatalf("%d bytes of %d, %d entries", c.used, c.limit, c.order.Len())
		}
	}
	if c.get("b") != nil {
		t.Error("the one unused longest is still there")
	}
	c.put("huge", make([]int16, 1<<20))
	if c.get("huge") != nil || c.order.Len() != 10 {
		t.Error("a sound larger than the cache was kept")
	}
}

func TestSimRecognizerIsRefusedOnRealLines(t *testing.T) {
	t.Parallel()
	for _, uri := range []string{"sip:127.0.0.1:5060", "", "sips:sim:x", "tel:sim"} {
		if r, err := NewSimRecognizer(&waihu.Trunk{URI: uri}); err == nil || r != nil {
			t.Errorf("%q was accepted", uri)
		}
	}
}

func TestRecognizerFor(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		asr, uri, name, refused string
	}{
		{"", "sim:demo", SimName, ""}, {"sim", "sim:demo", SimName, ""}, {"none", "sim:demo", "", ""},
		{"", "sip:127.0.0.1", "", ""}, {"sim", "sip:127.0.0.1", "", "only on a sim: line"}, {"funasr-main", "sim:demo", "", "funasr-main"},
	} {
		r, err := RecognizerFor(&waihu.AgentSpec{Listen: waihu.ListenSpec{ASR: tc.asr}}, &waihu.Trunk{URI: tc.uri})
		if (err != nil) != (tc.refused != "") || err != nil && !strings.Contains(err.Error(), tc.refused) || (r != nil) != (tc.name != "") || r != nil && r.Name() != tc.name {
			t.Errorf("asr %q on %q: %v, %v", tc.asr, tc.uri, r, err)
		}
	}
}

func TestSimRecognizerHears(t *testing.T) {
	t.Parallel()
	r, err := NewSimRecognizer(&waihu.Trunk{URI: "sim:demo"})
	if err != nil {
		t.Fatal(err)
	}
	hear := func(pcm []int16) (got []agent.Heard) {
		for ; len(pcm) >= 160; pcm = pcm[160:] {
			got = append(got, r.Frame(pcm[:160], false)...)
		}
		return got
	}
	voice := shipped("您好，能听到吗？")
	got := hear(append(audio.UnderSpeech(voice, "没问题，货物完好", audio.ModemLevel), make([]int16, 1600)...))
	if len(got) != 2 || got[0].Text != "没问题，" || got[0].Final || got[1].Text != "没问题，货物完好" || !got[1].Final {
		t.Errorf("heard %+v", got)
	}
	// The end is lost: Finalize gives what there is, but only when nothing is in the air.
	tones := audio.AppendModem(nil, audio.ModemLevel, audio.NewPiece(audio.PieceText, "好的"))
	half := len(tones) / 2 / 160 * 160
	got = hear(tones[:half])
	r.Finalize()
	got = append(got, hear(append(tones[half:], make([]int16, 3200)...))...)
	if len(got) != 2 || got[1].Text != "好的" || !got[1].Final || got[0].Final {
		t.Errorf("without its end: %+v", got)
	}
	r.Finalize()
	if got = hear(make([]int16, 3200)); len(got) != 1 || !got[0].Final || got[0].Text != "" {
		t.Errorf("Finalize of nothing: %+v", got)
	}
	got = hear(append(audio.AppendModem(nil, audio.ModemLevel, audio.NewPiece(audio.PieceLabel, "cough")), make([]int16, 800)...))
	if len(got) != 1 || !got[0].Noise {
		t.Errorf("a label: %+v", got)
	}
}

// What a dial costs when its sentences are in the cache.
func BenchmarkPrepare(b *testing.B) {
	s := newSynth(b, Options{Espeak: "off"})
	spec := survey(b)
	b.ReportAllocs()
	for b.Loop() {
		script, err := agent.Prepare(b.Context(), spec, nil, s)
		if err != nil {
			b.Fatal(err)
		}
		script.Start(nil)
	}
}

// A sentence put together from its parts: a rest at every cut, no step that a voice does not make.
func TestSplicedSentence(t *testing.T) {
	t.Parallel()
	s := newSynth(t, Options{Espeak: "off"})
	spec := survey(t)
	spec.Opening.Say = "您好，请问是{{name|先生或女士}}本人吗？{{ask|您好，能听到吗？}}"
	spec.Vars = map[string]waihu.VarSpec{"name": {}, "ask": {}}
	wait := 0
	spec.Opening.WaitMS = &wait
	script, err := agent.Prepare(t.Context(), spec, nil, s)
	if err != nil {
		t.Fatal(err)
	}
	c := script.Start(nil)
	var sent []int16
	for spoke, began := true, false; spoke || !began || len(sent) < 4*audio.SampleRate; began = true {
		var out [audio.FrameSamples]int16
		spoke = c.Frame(nil, false, 0, out[:])
		sent = append(sent, out[:]...)
	}
	at := 0
	for i, part := range []struct {
		text string
		rest int // ms before it
	}{{"您好，请问是", 0}, {"先生或女士", 80}, {"本人吗？", 80}, {"您好，能听到吗？", 350}} {
		pcm, err := s.Say(t.Context(), zh, part.text)
		if err != nil {
			t.Fatal(err)
		}
		for range part.rest * 8 {
			if sent[at] != 0 {
				t.Fatalf("no rest before part %d", i)
			}
			at++
		}
		for k, v := range pcm {
			if sent[at+k] != v {
				t.Fatalf("part %d is not the prompt at sample %d", i, k)
			}
		}
		at += len(pcm)
	}
}
