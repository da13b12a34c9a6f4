package call_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"waihu"
	"waihu/agent"
	"waihu/audio"
	"waihu/call"
	"waihu/carrier"
	"waihu/media"
	"waihu/sip"
	"waihu/speech"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// These tests wait for telephones to ring, not for the processor.
	if err := flag.Set("test.parallel", "24"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// rig is our half of a call: an endpoint and a media engine on loopback.
type rig struct {
	t      *testing.T
	ua     *sip.Endpoint
	engine *media.Engine
	deps   call.Deps

	mu     sync.Mutex
	events []waihu.EventKind
}

// newRig runs until the test ends. RTP ports come from below the kernel's own range.
func newRig(t *testing.T, change func(*media.Config)) *rig { return newRigOn(t, "127.0.0.1", change) }

// newRigOn listens for signalling and media on an address.
func newRigOn(t *testing.T, addr string, change func(*media.Config)) *rig {
	t.Helper()
	ua, err := sip.New(sip.Options{Listen: []sip.ListenAddr{{Network: "udp", Addr: addr + ":0"}, {Network: "tcp", Addr: addr + ":0"}},
		Journal: filepath.Join(t.TempDir(), "dialogs.journal")})
	if err != nil {
		t.Fatal(err)
	}
	low := 12000 + 400*rand.IntN(45)
	cfg := media.Config{PortLow: low, PortHigh: low + 399, Quarantine: -1, Threads: 1, Log: slog.New(clockLog{})}
	if change != nil {
		change(&cfg)
	}
	engine, err := media.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, ua: ua, engine: engine}
	r.deps = call.Deps{Endpoint: ua, Engine: engine, Sounds: tones{}, Recognizer: speech.RecognizerFor, Recordings: t.TempDir(),
		Publish: r.publish, Log: testLogger(t), Bind: netip.MustParseAddr(addr)}
	ctx, cancel := context.WithCancel(context.Background())
	var rooms sync.WaitGroup
	for _, run := range []func(context.Context) error{ua.Run, engine.Run} {
		rooms.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		rooms.Wait()
	})
	return r
}

func (r *rig) publish(e waihu.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e.Kind)
}

func (r *rig) count(kind waihu.EventKind) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.events {
		if k == kind {
			n++
		}
	}
	return n
}

var lastCall atomic.Int64

// dial makes one call over a trunk.
func (r *rig) dial(ctx context.Context, trunk waihu.Trunk, phone waihu.PhoneNumber, spec *waihu.AgentSpec, change func(*call.Order)) waihu.Outcome {
	r.t.Helper()
	settings := trunk
	settings.URI = strings.Replace(settings.URI, "sim:", "sip:", 1)
	peer, err := sip.NewPeer(settings)
	if err != nil {
		r.t.Error(err)
		return waihu.Outcome{}
	}
	o := call.Order{Peer: peer, Trunk: trunk, Caller: "02160001000", Attempt: waihu.Attempt{
		Call: waihu.NewCallID(0, 1, lastCall.Add(1)), Line: "line", Phone: phone, Agent: spec, RingTimeout: 4 * time.Second}}
	if change != nil {
		change(&o)
	}
	return call.Run(ctx, r.deps, o)
}

// startCarrier runs a simulated carrier whose network is fast; its findings fail the test.
func startCarrier(t *testing.T, change func(*carrier.Options)) *carrier.Carrier {
	t.Helper()
	opt := carrier.Options{Seed: 3, Speed: 0.1, Username: "alice", Password: "secret", Log: testLogger(t)}
	if change != nil {
		change(&opt)
	}
	c, err := carrier.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		for _, f := range c.Findings() {
			t.Error(f)
		}
	})
	return c
}

func simTrunk(c *carrier.Carrier) waihu.Trunk {
	return waihu.Trunk{URI: "sim:" + c.Addr(), Username: "alice", Password: "secret"}
}

// tones says every text as a buzz of its own pitch, 60 ms a character.
type tones struct{}

func (tones) Say(_ context.Context, _ agent.Voice, text string) ([]int16, error) {
	if text == "哑" {
		return nil, fmt.Errorf("%w: %q", agent.ErrNoVoice, text)
	}
	h := fnv.New32a()
	h.Write([]byte(text))
	f0 := 150 + float64(h.Sum32()%100)
	out := make([]int16, 480*len([]rune(text)))
	for i := range out {
		for k := 1.0; k <= 4; k++ {
			out[i] += int16(2500 / k * math.Sin(2*math.Pi*k*f0*float64(i)/audio.SampleRate))
		}
	}
	return out, nil
}

func (tones) Prompt(context.Context, string) ([]int16, error) { return nil, agent.ErrNoVoice }

// agentOf reads an agent as a resources file writes it.
func agentOf(t *testing.T, text string) *waihu.AgentSpec {
	t.Helper()
	var s waihu.AgentSpec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

const (
	// surveyAgent asks, understands and grades.
	surveyAgent = `{"id": "survey", "name": "survey", "version": 1, "opening": {"wait_ms": 300, "say": "货物完好吗？"},
		"intents": {"fine": {"any": ["完好"], "dtmf": "1"}, "broken": {"any": ["坏了"], "dtmf": "2"},
			"stop": {"any": ["别打了"], "dtmf": "9", "do": ["opt_out", {"say": "好的。"}, "hangup"]}},
		"brain": "flow", "flow": {"start": "ask", "nodes": {
			"ask": {"branches": [{"on": "fine", "tag": "fine", "go": "bye"}, {"on": "broken", "tag": "broken", "go": "bye"}], "else": {"times": 2, "say": "请再说一遍。", "then": "bye"}},
			"bye": {"say": "再见。", "do": ["hangup"]}}},
		"grade": [{"level": "A", "when": "tag('fine')"}, {"level": "B", "when": "tag('broken')"}, {"level": "E", "when": "true"}]}`
	// byeAgent says one sentence and hangs up.
	byeAgent = `{"id": "bye", "name": "bye", "version": 1, "opening": {"wait_ms": 200, "say": "您好，再见。"},
		"brain": "flow", "flow": {"start": "bye", "nodes": {"bye": {"do": ["hangup"]}}}}`
	// patientAgent speaks once and then waits for longer than any test.
	patientAgent = `{"id": "patient", "name": "patient", "version": 1, "opening": {"wait_ms": 0, "say": "您好。"}, "listen": {"noinput": {"ms": 60000, "say": ["在吗？"]}},
		"intents": {"key": {"dtmf": "7"}}, "brain": "flow", "flow": {"start": "ask", "nodes": {"ask": {"branches": [{"on": "key", "tag": "seven", "go": "ask"}]}}}}`
)

func testLogger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(testLog{t}, nil)) }

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}
