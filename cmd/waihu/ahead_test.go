package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"waihu"
	"waihu/audio"
	"waihu/store"
)

// aheadWorld is a ledger and a voice that a test holds in its hand.
type aheadWorld struct {
	mu      sync.Mutex
	task    waihu.Task
	started bool
	fresh   []store.PoppedNumber // in pop order
	spec    waihu.AgentSpec
	reads   int // of the next numbers

	fixed  int
	said   []string // names, as they were rendered
	live   int
	most   int
	took   time.Duration // of one rendering
	ready  bool
	errors int
	room   int // bytes of the cache; each number takes 1000
}

func newAheadWorld(numbers, concurrency int) *aheadWorld {
	w := &aheadWorld{task: waihu.Task{ID: "t", Account: "acme", Agent: "a", Concurrency: concurrency}, started: true, ready: true, room: 1 << 20,
		spec: waihu.AgentSpec{ID: "a", VersionID: 1, Opening: waihu.OpeningSpec{Say: "您好，{{name|您}}"}}, took: 10 * time.Millisecond}
	for i := range numbers {
		w.fresh = append(w.fresh, store.PoppedNumber{Seq: int64(i), Attempt: 1, Data: waihu.NumberData{Vars: map[string]string{"name": "n" + strconv.Itoa(i)}}})
	}
	return w
}

func (w *aheadWorld) OwnedTasks(context.Context, int) ([]store.OwnedTask, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.started {
		return nil, nil
	}
	return []store.OwnedTask{{Task: w.task, Runs: []waihu.Run{{Task: "t", N: 1}}}}, nil
}

func (w *aheadWorld) NextNumbers(_ context.Context, p store.Peek) ([]store.PoppedNumber, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads++
	return slices.Clone(w.fresh[:min(p.Limit, len(w.fresh))]), nil
}

func (w *aheadWorld) TaskAgent(context.Context, *waihu.Task, waihu.AgentID) (waihu.AgentSpec, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.spec, nil
}

func (w *aheadWorld) RenderFixed(_ context.Context, spec *waihu.AgentSpec) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fixed++
	return strings.Contains(spec.Opening.Say, "{{"), nil
}

func (w *aheadWorld) Room() int { return w.room }

func (w *aheadWorld) Render(ctx context.Context, _ *waihu.AgentSpec, vars map[string]string) (int, error) {
	w.mu.Lock()
	w.live++
	w.most = max(w.most, w.live)
	took := w.took
	w.mu.Unlock()
	whole := pause(ctx, took, nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live--
	if !whole {
		w.errors++
		return 0, ctx.Err()
	}
	if !slices.Contains(w.said, vars["name"]) { // otherwise it comes from the cache
		w.said = append(w.said, vars["name"])
	}
	return 1000, nil
}

// dial takes the next numbers, as the scheduler does, and says which of them had their words.
func (w *aheadWorld) dial(l *lookahead, n int) (ready int) {
	w.mu.Lock()
	popped := w.fresh[:min(n, len(w.fresh))]
	w.fresh = w.fresh[len(popped):]
	for _, p := range popped {
		if slices.Contains(w.said, p.Data.Vars["name"]) {
			ready++
		}
	}
	w.mu.Unlock()
	for range popped {
		l.note(waihu.Event{Task: "t", Kind: waihu.EventCallDialing})
	}
	return ready
}

func (w *aheadWorld) follow(t *testing.T, f func(l *lookahead)) {
	l := newLookahead(w, w, func() (bool, string) { w.mu.Lock(); defer w.mu.Unlock(); return w.ready, "" }, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	f(l)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// pass lets time go by, in a bubble of synctest.
func (w *aheadWorld) pass(d time.Duration) { <-time.After(d) }

func (w *aheadWorld) check(t *testing.T, f func() string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if wrong := f(); wrong != "" {
		t.Error(wrong)
	}
}

// A campaign that dials at a steady pace finds every number's words made, never more than twice the
// concurrency ahead, and each once.
func TestAheadOfTheDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAheadWorld(400, 20)
		w.follow(t, func(l *lookahead) {
			w.pass(time.Second)
			w.check(t, func() string {
				if w.fixed != 1 || len(w.said) != 40 {
					return fmt.Sprintf("at the start %d times the fixed parts and %d numbers, want 1 and 40", w.fixed, len(w.said))
				}
				return ""
			})
			for dialled := 0; dialled < 400; dialled += 5 {
				if ready := w.dial(l, 5); ready != 5 {
					t.Fatalf("after %d dials only %d of 5 had their words", dialled, ready)
				}
				w.pass(200 * time.Millisecond)
				w.check(t, func() string {
					if ahead := len(w.said) - dialled - 5; ahead > 40 {
						return fmt.Sprintf("%d numbers ahead, want 40 at most", ahead)
					}
					return ""
				})
			}
			w.check(t, func() string {
				if len(w.said) != 400 || w.fixed != 1 || w.most > cap(l.slots) || w.reads > 60 {
					return fmt.Sprintf("%d numbers, %d times the fixed parts, %d at once, %d looks", len(w.said), w.fixed, w.most, w.reads)
				}
				return ""
			})
		})
	})
}

// A campaign faster than the voice is followed at its head: what was dialled already is not made any more.
func TestAheadKeepsToTheHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAheadWorld(2000, 100)
		w.took = 100 * time.Millisecond * time.Duration(max(1, runtime.GOMAXPROCS(0)/2))
		w.follow(t, func(l *lookahead) {
			w.pass(200 * time.Millisecond)
			for range 100 {
				w.dial(l, 20) // 100 a second, and 10 a second are made
				w.pass(200 * time.Millisecond)
			}
			w.check(t, func() string {
				last, _ := strconv.Atoi(strings.TrimPrefix(w.said[len(w.said)-1], "n"))
				if last < 1800 {
					return fmt.Sprintf("after 2000 dials the last words made were those of number %d", last)
				}
				return ""
			})
		})
	})
}

// The cache is never overrun: what is made ahead fits into it, and goes on as numbers are dialled.
func TestAheadFitsTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAheadWorld(100, 50)
		w.room = 20_000
		w.follow(t, func(l *lookahead) {
			for dialled := 0; dialled < 100; dialled += 10 {
				w.pass(5 * time.Second)
				w.check(t, func() string {
					if ahead, most := len(w.said)-dialled, 20+cap(l.slots); ahead < min(20, 100-dialled) || ahead > most {
						return fmt.Sprintf("after %d dials %d numbers are made ahead, want 20", dialled, ahead)
					}
					return ""
				})
				w.dial(l, 10)
			}
		})
	})
}

// Tasks without variables are not looked at; a stopped task, and one of another process, is left at once; a new version
// of the agent and other words of a number are noticed.
func TestAheadStopsAndNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAheadWorld(10, 5)
		w.spec.Opening.Say = "您好"
		w.follow(t, func(l *lookahead) {
			w.pass(10 * time.Second)
			w.check(t, func() string {
				if w.fixed != 1 || w.reads != 0 {
					return fmt.Sprintf("without variables: %d times the fixed parts, %d looks", w.fixed, w.reads)
				}
				w.spec.VersionID, w.spec.Opening.Say = 2, "您好，{{name}}"
				return ""
			})
			w.pass(5 * time.Second)
			w.check(t, func() string {
				if w.fixed != 2 || len(w.said) != 10 {
					return fmt.Sprintf("a new version: %d times the fixed parts, %d numbers", w.fixed, len(w.said))
				}
				w.fresh[3].Data.Vars = map[string]string{"name": "another"}
				return ""
			})
			w.pass(5 * time.Second)
			w.check(t, func() string {
				if len(w.said) != 11 || w.said[10] != "another" {
					return fmt.Sprintf("other words: %v", w.said)
				}
				w.started, w.said, w.took = false, nil, time.Minute
				w.spec.VersionID = 3
				return ""
			})
			l.note(waihu.Event{Task: "t", Kind: waihu.EventTaskStopped})
			w.pass(time.Minute)
			w.check(t, func() string {
				if len(w.said) != 0 || w.fixed != 2 || w.live != 0 {
					return fmt.Sprintf("after the stop: %v, fixed %d, live %d", w.said, w.fixed, w.live)
				}
				return ""
			})
			// A start that was asked for is followed before the ledger shows it, and forgotten when it never does.
			l.begin(w.task)
			w.pass(time.Second)
			w.check(t, func() string {
				if w.fixed != 3 || w.live == 0 {
					return fmt.Sprintf("a start that was asked for: fixed %d, live %d", w.fixed, w.live)
				}
				return ""
			})
			w.pass(20 * time.Second)
			w.check(t, func() string {
				if w.live != 0 || w.errors == 0 {
					return "a start that never came is still followed"
				}
				w.started, w.ready = true, false
				return ""
			})
			w.pass(20 * time.Second)
			w.check(t, func() string {
				if w.live != 0 || w.fixed != 3 {
					return "a process that does not dial looked ahead"
				}
				return ""
			})
		})
	})
}

// The whole program with an espeak-ng that writes down when it spoke: after the first dials every number's
// name was made before the ledger's dial, each once.
func TestNamesAreMadeBeforeTheDial(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wav, log, program := filepath.Join(dir, "out.wav"), filepath.Join(dir, "log"), filepath.Join(dir, "espeak-ng")
	if err := os.WriteFile(wav, audio.WriteWAV(22050, audio.Tone(4410, -20, 300)), 0o644); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\ntext=$(cat)\ncat %s\necho \"$(date +%%s%%N) $text\" >> %s\n", wav, log)
	syscall.ForkLock.RLock() // a child of another test that had it open for writing, be it for a moment, would make it "text file busy"
	err := os.WriteFile(program, []byte(script), 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}

	w := newWorld(t, strings.Replace(testResources, "agents:\n", `agents:
  - id: named
    name: named
    version: 1
    vars: {name: {type: text}}
    opening: {wait_ms: 0, say: "您好，{{name}}，再见。"}
    brain: flow
    flow: {start: bye, nodes: {bye: {say: 感谢您的接听，再见。, do: [hangup]}}}
`, 1)+"lines:\n  - {id: sim, name: sim, concurrency: 2, trunk: {uri: \"sim:x\", codecs: [pcma]}}\n",
		func(c *config) { c.simSpeed, c.espeak = 0.3, program })
	const numbers = 12
	now := time.Now().In(waihu.Location(""))
	id, err := w.client.newTask(t.Context(), t.Name(), "named", "sim", 1, 2, now.Add(-time.Hour).Format(time.DateTime), now.Add(24*time.Hour).Format(time.DateTime))
	if err != nil {
		t.Fatal(err)
	}
	rows := make([]map[string]any, numbers)
	names := map[string]string{}
	for i := range rows {
		phone, name := fmt.Sprintf("+9991%03d02", i), fmt.Sprintf("Customer%d", i)
		if i%4 == 0 {
			phone = phone[:len(phone)-2] + "13"
		}
		rows[i] = map[string]any{"phone": phone, "name": name}
		names[phone] = name
	}
	if err := w.client.addNumbers(t.Context(), id, rows); err != nil {
		t.Fatal(err)
	}
	if err := w.client.startTask(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.waitTask(t, waihu.TaskID(id), numbers)
	raw, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]time.Time{}
	for _, row := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		at, text, _ := strings.Cut(row, " ")
		ns, err := strconv.ParseInt(at, 10, 64)
		if err != nil || !made[text].IsZero() {
			t.Errorf("rendered %q twice, or unreadable: %v", row, err)
		}
		made[text] = time.Unix(0, ns)
	}
	calls := w.calls(t, waihu.TaskID(id))
	slices.SortFunc(calls, func(a, b waihu.Call) int { return a.StartedAt.Compare(b.StartedAt) })
	late := 0
	for i, c := range calls {
		at := made[names[string(c.Phone)]]
		if at.IsZero() {
			t.Errorf("call %d: the name was never made", i)
		}
		if at.After(c.StartedAt) && c.StartedAt.Sub(calls[0].StartedAt) > time.Second { // the first are dialled in the moment of the start
			late++
			t.Logf("call %d: the name was made %v after the dial", i, at.Sub(c.StartedAt))
		}
	}
	if late > 2 { // a busy machine may start a process too late
		t.Errorf("%d of %d names were made after their dial", late, numbers)
	}
}
