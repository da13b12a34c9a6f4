package call_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"waihu"
	"waihu/audio"
	"waihu/media"
	"waihu/sip"
)

// softphone is a baresip that answers by itself, sends a tone and keeps what it hears.
type softphone struct {
	t    tell
	dir  string
	port int
	ctrl net.Conn

	mu   sync.Mutex
	seen []string // events of its control connection, as it writes them
}

const toneHz = 1000

// startBaresip starts one for t; what is wrong with what it hears goes to told.
func startBaresip(t *testing.T, told tell, account string) *softphone {
	t.Helper()
	requirePeer(t, "baresip")
	p := &softphone{t: told, dir: t.TempDir(), port: freePort(t)}
	ctrl := freePort(t)
	rtp := 30000 + freePort(t)%1000*2
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("tone.wav", string(toneWAV()))
	write("contacts", "")
	write("accounts", fmt.Sprintf("<sip:13800001234@127.0.0.1:%d>;regint=0;answermode=auto;%s\n", p.port, account))
	write("config", fmt.Sprintf(`sip_listen 127.0.0.1:%d
net_interface 127.0.0.1
rtp_ports %d-%d
audio_source aufile,%s
audio_player aubridge,nobody
audio_alert aubridge,nobody
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
module_path /usr/lib/baresip/modules
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
snd_path %s
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:%d
`, p.port, rtp, rtp+20, filepath.Join(p.dir, "tone.wav"), p.dir, ctrl))
	cmd := exec.Command("baresip", "-f", p.dir)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(ctrl)))
		if err == nil {
			p.ctrl = c
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("baresip does not start")
		}
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.events()
	}()
	t.Cleanup(func() {
		p.ctrl.Close()
		<-read
	})
	return p
}

// events reads netstrings until the connection ends.
func (p *softphone) events() {
	r := bufio.NewReader(p.ctrl)
	for {
		size, err := r.ReadString(':')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(size, ":"))
		if err != nil {
			return
		}
		b := make([]byte, n+1)
		if _, err := io.ReadFull(r, b); err != nil {
			return
		}
		p.mu.Lock()
		p.seen = append(p.seen, string(b[:n]))
		p.mu.Unlock()
	}
}

// await returns when an event holds all words.
func (p *softphone) await(words ...string) {
	p.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		p.mu.Lock()
		all := p.seen
		p.mu.Unlock()
		for _, e := range all {
			hits := 0
			for _, w := range words {
				if strings.Contains(e, w) {
					hits++
				}
			}
			if hits == len(words) {
				return
			}
		}
	}
	p.t.Errorf("baresip has not told of %q: %q", words, p.seen)
}

func (p *softphone) command(name, params string) {
	p.t.Helper()
	text := fmt.Sprintf(`{"command":%q,"params":%q}`, name, params)
	if _, err := fmt.Fprintf(p.ctrl, "%d:%s,", len(text), text); err != nil {
		p.t.Error(err)
	}
}

// heard is what baresip played to its user.
func (p *softphone) heard() []int16 {
	p.t.Helper()
	names, _ := filepath.Glob(filepath.Join(p.dir, "dump-*dec.wav"))
	if len(names) != 1 {
		p.t.Errorf("recordings of baresip: %v", names)
		return nil
	}
	pcm := dumped(names[0])
	if pcm == nil {
		p.t.Error("the recording of baresip is empty")
	}
	return pcm
}

// dumped reads one of its recordings. The header is written at the end, which a killed process never reaches; the
// samples begin at 44.
func dumped(name string) []int16 {
	raw, err := os.ReadFile(name)
	if err != nil || len(raw) < 44 {
		return nil
	}
	pcm := make([]int16, (len(raw)-44)/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(raw[44+2*i:]))
	}
	return pcm
}

// hears returns when what baresip plays satisfies enough.
func (p *softphone) hears(what string, enough func(pcm []int16) bool) {
	p.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		names, _ := filepath.Glob(filepath.Join(p.dir, "dump-*dec.wav"))
		for _, name := range names {
			if enough(dumped(name)) {
				return
			}
		}
	}
	p.t.Errorf("baresip has not heard %s", what)
}

func (p *softphone) trunk() waihu.Trunk {
	return waihu.Trunk{URI: fmt.Sprintf("sip:127.0.0.1:%d", p.port)}
}

// toneWAV is half a minute of 1 kHz.
func toneWAV() []byte {
	pcm := make([]byte, 0, 2*8000*30)
	for i := range 8000 * 30 {
		pcm = binary.LittleEndian.AppendUint16(pcm, uint16(int16(8000*math.Sin(2*math.Pi*toneHz*float64(i)/audio.SampleRate))))
	}
	h := audio.AppendWAVHeader(nil, audio.WAVPCM16, 1, audio.SampleRate, int64(len(pcm)))
	return append(h, pcm...)
}

// share is how much of pcm's power lies at hz.
func share(pcm []int16, hz float64) float64 {
	var re, im, all float64
	for i, v := range pcm {
		s, c := math.Sincos(2 * math.Pi * hz * float64(i) / audio.SampleRate)
		re, im, all = re+float64(v)*c, im+float64(v)*s, all+float64(v)*float64(v)
	}
	if all == 0 {
		return 0
	}
	return 2 * (re*re + im*im) / (all * float64(len(pcm)))
}

// loudest is the loudest stretch of n samples.
func loudest(pcm []int16, n int) []int16 {
	var best []int16
	most := -1.0
	for at := 0; at+n <= len(pcm); at += 80 {
		if e := audio.Level(pcm[at : at+n]); best == nil || e > most {
			best, most = pcm[at:at+n], e
		}
	}
	return best
}

// TestAgainstBaresip: real media both ways, judged on both sides, and keys.
func TestAgainstBaresip(t *testing.T) {
	t.Parallel()
	for _, codec := range []string{"PCMA", "PCMU"} {
		t.Run(codec, func(t *testing.T) {
			t.Parallel()
			r, spec, outer := newRig(t, nil), agentOf(t, patientAgent), t
			steady(t, nil, func(t tell) {
				p := startBaresip(outer, t, "audio_codecs="+codec+"/8000/1")
				done := make(chan waihu.Outcome, 1)
				go func() { done <- r.dial(context.Background(), p.trunk(), "13800001234", spec, nil) }()
				p.await("CALL_ESTABLISHED")
				// A key that is pressed before the agent's first word answers what it was going to say, and it says nothing.
				heard := 0
				p.hears("our sentence", func(pcm []int16) bool {
					heard = len(pcm)
					return len(pcm) > 800 && audio.Level(loudest(pcm, 800)) > -35
				})
				p.command("sndcode", "7")
				p.hears("us for a second more", func(pcm []int16) bool { return len(pcm) > heard+audio.SampleRate })
				p.command("hangup", "")
				o := <-done
				sound(t, r, &o)
				if o.Disposition != waihu.Answered || o.HangupBy != waihu.ByCallee || !strings.EqualFold(o.Media.Codec, codec) || o.Media.DTMF != "7" || fmt.Sprint(o.Tags) != "[seven]" {
					t.Errorf("%s by %q over %s, digits %q, tags %v; evidence %+v", o.Disposition, o.HangupBy, o.Media.Codec, o.Media.DTMF, o.Tags, o.Evidence)
				}
				if o.Media.Lost != 0 || o.Media.Received < 60 {
					t.Errorf("media %+v", o.Media)
				}
				raw, err := os.ReadFile(filepath.Join(r.deps.Recordings, filepath.FromSlash(o.Recording)))
				if err != nil {
					t.Error(err)
					return
				}
				wav, err := audio.ReadWAV(raw)
				if err != nil {
					t.Error(err)
					return
				}
				callee := loudest(wav.Channels[0], 1600)
				if s := share(callee, toneHz); s < 0.98 || audio.Level(callee) < -20 {
					t.Errorf("the callee's tone is %.3f of our recording's left side at %.0f dBFS", s, audio.Level(callee))
				}
				ours, theirs := loudest(wav.Channels[1], 800), loudest(p.heard(), 800)
				if l := audio.Level(theirs); l < -35 || math.Abs(l-audio.Level(ours)) > 1.5 {
					t.Errorf("baresip heard our sentence at %.1f dBFS, we recorded it at %.1f", l, audio.Level(ours))
				}
			})
		})
	}
}

// TestBaresipTakesOurKeys: what we press arrives, each key once.
func TestBaresipTakesOurKeys(t *testing.T) {
	t.Parallel()
	p := startBaresip(t, t, "audio_codecs=PCMA/8000/1")
	r := newRig(t, nil)
	s, err := r.engine.Open(media.SessionConfig{Local: netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	peer, err := sip.NewPeer(p.trunk())
	if err != nil {
		t.Fatal(err)
	}
	d, err := r.ua.Invite(t.Context(), sip.Invite{Call: waihu.NewCallID(0, 1, lastCall.Add(1)), Peer: peer, Callee: "13800001234", SDP: s.Offer()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remote(d.RemoteSDP()); err != nil {
		t.Fatal(err)
	}
	s.Start()
	p.await("CALL_ESTABLISHED")
	if err := s.SendDTMF("15#"); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"1", "5", "#"} {
		p.await("CALL_DTMF_START", `"param":"`+key+`"`)
	}
	p.await("CALL_DTMF_END")
	if err := d.Bye(t.Context(), sip.HangUp{By: waihu.ByAgent}); err != nil {
		t.Error(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := strings.Count(strings.Join(p.seen, " "), "CALL_DTMF_START"); n != 3 {
		t.Errorf("%d keys arrived, 3 were pressed: %q", n, p.seen)
	}
}
