package main

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"waihu"
)

// signalWhen sends one signal as soon as the command has said something.
type signalWhen struct {
	script
	once    sync.Once
	words   string
	signals chan<- os.Signal
}

func (w *signalWhen) Write(p []byte) (int, error) {
	n, err := w.script.Write(p)
	if strings.Contains(w.String(), w.words) {
		w.once.Do(func() { w.signals <- os.Interrupt })
	}
	return n, err
}

// TestDemo: a small demonstration ends well, and with --keep stays up and serves until the signal.
func TestDemo(t *testing.T) {
	t.Parallel()
	var out script
	signals := make(chan os.Signal, 2)
	data := filepath.Join(t.TempDir(), "demo")
	code := make(chan int, 1)
	go func() {
		code <- run(t.Context(), stdio{out: &out, err: &out, env: noEnv, signals: signals}, []string{"demo", "--numbers", "3", "--concurrency", "3", "--keep", "--data", data})
	}()
	eventually(t, 90*time.Second, "the calls are over and it serves", func() bool {
		if len(code) > 0 {
			t.Fatalf("it ended with %d: %s", <-code, out.String())
		}
		return strings.Contains(out.String(), "until Ctrl-C")
	})
	m := regexp.MustCompile(`serving (\S+) with token (\S+) for user (\S+)`).FindStringSubmatch(out.String())
	if m == nil {
		t.Fatalf("it does not say how to go on: %s", out.String())
	}
	client := &vendorClient{base: m[1], token: m[2], user: m[3]}
	if err := client.do(t.Context(), http.MethodGet, "/agent-api/new/user/"+m[3]+"/task", nil, nil); err != nil {
		t.Error(err)
	}
	for _, words := range []string{"must end as", "3 numbers in", "one call (", "recording: " + data, "waihu serve --data " + data} {
		if !strings.Contains(out.String(), words) {
			t.Errorf("it does not say %q:\n%s", words, out.String())
		}
	}
	signals <- syscall.SIGTERM
	if c := <-code; c != 0 {
		t.Errorf("exit code %d: %s", c, out.String())
	}
	expect(t, 1, "is not empty", "demo", "--data", data)
	expect(t, 1, "--concurrency 1 to 2000", "demo", "--concurrency", "0")
}

// TestDemoInterrupted: Ctrl-C ends it at any moment, in words and with exit code 1.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	for name, words := range map[string]string{"at once": "", "while it opens": "waihu demo", "in the middle of calls": "talking"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := filepath.Join(t.TempDir(), "demo")
			signals := make(chan os.Signal, 2)
			out := &signalWhen{words: words, signals: signals}
			if words == "" {
				signals <- os.Interrupt
			}
			began := time.Now()
			code := run(t.Context(), stdio{out: out, err: out, env: noEnv, signals: signals}, []string{"demo", "--concurrency", "10", "--data", data})
			if code != 1 || !strings.Contains(out.String(), "interrupted: every call was hung up; data in "+data) {
				t.Errorf("exit %d: %s", code, out.String())
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			// it is the folder's last user: the ledger opens again
			st, err := openStore(t.Context(), config{Data: data}, noEnv, newLog(out, "error"))
			if err != nil {
				t.Fatal(err)
			}
			st.Close()
		})
	}
}

// The transcript tells a key from a voice whose words nobody wrote down.
func TestTurnText(t *testing.T) {
	t.Parallel()
	for want, turn := range map[string]waihu.Turn{
		"完好":                 {Who: "callee", Text: "完好", Why: "branch"},
		"(pressed 12)":       {Who: "callee", Digit: "12", Why: "dtmf 12"},
		"(silence)":          {Who: "callee", Why: "silence 1 of 2"},
		"(speech, no words)": {Who: "callee", Why: "speech"},
	} {
		if got := turnText(turn); got != want {
			t.Errorf("%+v reads %q, want %q", turn, got, want)
		}
	}
}
