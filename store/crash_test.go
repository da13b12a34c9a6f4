package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"waihu"
)

// TestKilled kills a process with -9 at named points, in the middle of imports and ticks, and
// checks what the next process finds: nothing half done, every gauge true, no attempt dialled twice.
func TestKilled(t *testing.T) {
	if env := os.Getenv("WAIHU_STORE_VICTIM"); env != "" {
		victim(t, env)
		return
	}
	engines(t, func(t *testing.T, open func(Options) *Store) {
		for _, point := range []string{"tick.before_commit", "tick.after_commit", "import.mid"} {
			for n := 1; n <= max(1, 4/raceScale); n++ {
				o := Options{}
				if strings.Contains(t.Name(), "sqlite") {
					o.Dir = t.TempDir()
				} else {
					o.DSN = postgresDSN(t)
				}
				w := newWorld(t, open(o))
				w.line("l1", 100)
				w.task("t1")
				w.numbers("t1", 0, 30)
				w.start("t1")
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
				cmd.Env = append(os.Environ(), fmt.Sprintf("WAIHU_STORE_VICTIM=%s|%d|%s|%s", point, n, o.Dir, o.DSN))
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("%s %d: the victim was not killed: %v\n%s", point, n, err, out)
				}
				w.Store = open(o)
				if o.DSN != "" {
					w.do(func(x *tx) error { _, err := x.exec(`update shards set lease_until = 0`); return err })
				}
				w.takeShard()
				live, err := w.Recover(w.ctx, 0, w.epoch)
				if err != nil {
					t.Fatal(err)
				}
				// The victim's ticks dial two numbers each and book the ones before; it told us of every order it gave.
				want := map[string]int{"tick.before_commit": 2 * min(1, n-1), "tick.after_commit": 2, "import.mid": 0}[point]
				if len(live) != want {
					t.Errorf("%s %d: %d live calls, want %d", point, n, len(live), want)
				}
				placed := strings.Count(string(out), "dialled ")
				c, err := w.Counts(w.ctx, acme, "t1")
				if err != nil || c.Started < placed {
					t.Errorf("%s %d: the ledger knows of %d calls, %d orders left; %v", point, n, c.Started, placed, err)
				}
				if point == "import.mid" && c.numbers() == 30 {
					t.Errorf("%s %d: nothing was imported before the kill", point, n)
				}
				r := w.numbers("t1", 30, 1000) // the import again adds the rest
				if total := c.numbers() + r.Added; total != 1030 || r.Duplicates != 1000-r.Added {
					t.Errorf("%s %d: %d numbers after importing again (%+v)", point, n, total, r.Added)
				}
				var book []Booking
				for _, l := range live {
					book = append(book, ended(l, waihu.Unknown, waihu.NumberDone))
				}
				for {
					r := w.tick(&Tick{Book: book, Pops: []Pop{pop("t1", 1, 200)}})
					book = nil
					if r.Refused > 0 {
						t.Fatalf("%s %d: an attempt was about to be dialled twice", point, n)
					}
					for _, d := range r.Dials {
						book = append(book, ended(d.LiveCall, waihu.Busy, waihu.NumberDone))
					}
					if len(r.Dials) == 0 {
						break
					}
				}
				w.checkGauges()
				if c, err := w.Counts(w.ctx, acme, "t1"); err != nil || c.State[waihu.NumberDone] != 1030 || c.Started != 1030 {
					t.Errorf("%s %d: at the end %+v %v", point, n, c, err)
				}
				w.Close()
			}
		}
	})
}

// victim dials and imports until it is killed at the n-th time it comes to the point.
func victim(t *testing.T, env string) {
	part := strings.SplitN(env, "|", 4)
	n, err := strconv.Atoi(part[1])
	if err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, Options{Dir: part[2], DSN: part[3], Crash: func(point string) {
		if point != part[0] {
			return
		}
		if n--; n == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	w := &world{TB: t, Store: s, ctx: context.Background()}
	if part[3] != "" {
		w.do(func(x *tx) error { _, err := x.exec(`update shards set lease_until = 0`); return err })
	}
	w.takeShard()
	if part[0] == "import.mid" {
		for from := 30; ; from += 50 {
			w.numbers("t1", from, 50)
		}
	}
	var book []Booking
	for range 10 {
		r := w.tick(&Tick{Book: book, Pops: []Pop{pop("t1", 1, 2)}})
		book = nil
		for _, d := range r.Dials {
			fmt.Println("dialled", d.Call)
			book = append(book, ended(d.LiveCall, waihu.Busy, waihu.NumberDone))
		}
	}
}

// TestManyWriters lets a campaign, imports, starts, stops and readers work at once: no deadlock, no
// lost update, every gauge true.
func TestManyWriters(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		w := newWorld(t, open(Options{}))
		w.line("l1", 100)
		ids := []waihu.TaskID{"t1", "t2"}
		for _, id := range ids {
			w.task(id)
			w.start(id)
		}
		rounds := max(3, 40/raceScale)
		var importers, others sync.WaitGroup
		stop := make(chan struct{})
		for i := range 3 {
			importers.Go(func() {
				for n := range rounds {
					list := make([]NewNumber, 50)
					for j := range list {
						list[j].Phone = waihu.PhoneNumber(strconv.Itoa(13800000000 + n*40 + j))
					}
					if _, err := w.AddNumbers(w.ctx, acme, ids[i%2], list); err != nil {
						t.Error(err)
					}
				}
			})
		}
		until := func(f func() error) {
			others.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if err := f(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		until(func() error {
			if err := w.StopTask(w.ctx, acme, "t2"); err != nil {
				return err
			}
			return second(w.StartTask(w.ctx, acme, "t2"))
		})
		until(func() error { return second(w.Counts(w.ctx, acme, "t1")) })
		until(func() error { return third(w.Numbers(w.ctx, acme, "t1", NumberFilter{Page: 2})) })
		until(func() error { return w.Suppress(w.ctx, acme, "13800000001", "test", 0) })
		imported := make(chan struct{})
		go func() { importers.Wait(); close(imported) }()
		var book []Booking
		dialled := 0
		for over := false; !over || len(book) > 0; {
			select {
			case <-imported:
				over = true
			default:
			}
			owned, err := w.OwnedTasks(w.ctx, 0)
			if err != nil {
				t.Fatal(err)
			}
			k := &Tick{Book: book}
			for _, o := range owned {
				if last := o.Runs[len(o.Runs)-1]; last.State == waihu.RunOpen && !over {
					k.Pops = append(k.Pops, pop(o.Task.ID, last.N, 10))
				}
			}
			r := w.tick(k)
			book = nil
			dialled += len(r.Dials)
			for _, d := range r.Dials {
				book = append(book, ended(d.LiveCall, waihu.NoAnswer, waihu.NumberDone))
			}
		}
		close(stop)
		others.Wait()
		if dialled == 0 {
			t.Error("nothing was dialled beside the imports")
		}
		for _, id := range ids {
			c, err := w.Counts(w.ctx, acme, id)
			if want := (rounds-1)*40 + 50; err != nil || c.numbers() != want {
				t.Errorf("%s has %d numbers, want %d (%v)", id, c.numbers(), want, err)
			}
		}
		w.checkGauges()
	})
}
