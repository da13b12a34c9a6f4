package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"waihu"
	"waihu/carrier"
)

// The demonstration's callees: the last two digits choose the behaviour, the weight says how often it
// comes in 100 numbers. Those that would take longer than a minute are left to the tests.
var demoCallees = []struct{ suffix, weight int }{
	{1, 46}, {2, 8}, {3, 4}, {4, 5}, {5, 4}, {9, 2}, {10, 2}, {12, 3}, {13, 3}, {14, 4}, {31, 3}, {32, 3}, {33, 2}, {40, 3}, {50, 4}, {80, 2}, {87, 2},
}

const (
	demoAccount = "5832d184-dd53-42a0-8ace-0bf8d660f4cc"
	demoLine    = "sim"
	demoRing    = 12 // seconds until a callee who lets it ring is given up
	// demoSpeed halves ringing and announcements, so that a vacant number's 20 s fit into demoRing and a hundred calls into a minute.
	demoSpeed = 0.5
)

// demo is one run of the demonstration.
type demo struct {
	numbers, concurrency int
	keep                 bool
	data                 string
	out                  io.Writer
	server               *server
	client               *vendorClient
	phones               []waihu.PhoneNumber
	task                 string
}

func runDemo(ctx context.Context, std stdio, args []string) error {
	d := demo{out: std.out}
	fs := newFlags("demo")
	wholeVar(fs, &d.numbers, "numbers", 100, "how many `numbers` to call")
	wholeVar(fs, &d.concurrency, "concurrency", 25, "how many `calls` at once")
	fs.BoolVar(&d.keep, "keep", false, "stay up and serve when the calls are over")
	fs.StringVar(&d.data, "data", "", "data `folder`, new or empty; default a temporary one")
	if _, err := parseWords(std, fs, args, 0, 0); err != nil {
		return err
	}
	if d.numbers < 1 || d.numbers > 100000 || d.concurrency < 1 || d.concurrency > 2000 {
		return errors.New("--numbers wants 1 to 100000 and --concurrency 1 to 2000")
	}
	if d.data == "" {
		dir, err := os.MkdirTemp("", "waihu-demo-")
		if err != nil {
			return err
		}
		d.data = dir
	} else if entries, err := os.ReadDir(d.data); err == nil && len(entries) > 0 {
		return fmt.Errorf("--data %s is not empty: name a new folder, the demonstration does not write into a ledger in use", d.data)
	}
	return d.run(ctx, std)
}

func (d *demo) run(ctx context.Context, std stdio) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := d.open(ctx, std); err != nil {
		return err
	}
	pass := make(chan os.Signal, 2) // signals go to the server as soon as the calls are over, or end the demo
	served := make(chan error, 1)
	go func() { served <- d.server.run(ctx, pass) }()
	called := make(chan error, 1)
	go func() { called <- d.call(ctx) }()
	var err error
	select {
	case err = <-called:
	case err = <-served:
		cancel()
		<-called
		return fmt.Errorf("the server stopped: %w", err)
	case <-std.signals:
		cancel()
		<-called
		<-served
		return errors.New("interrupted: every call was hung up; data in " + d.data)
	}
	if d.keep && ctx.Err() == nil {
		fmt.Fprintf(d.out, "\nserving http://%s with token %s for user %s until Ctrl-C\n", d.server.http.Addr(), d.client.token, d.client.user)
		select {
		case s := <-std.signals:
			pass <- s
		case e := <-served:
			return e
		}
	}
	cancel()
	if e := <-served; err == nil && e != nil {
		err = e
	}
	return err
}

// open writes the demonstration's resources and opens a server on ports that the kernel chooses.
func (d *demo) open(ctx context.Context, std stdio) error {
	if err := os.MkdirAll(d.data, 0o700); err != nil {
		return err
	}
	file := filepath.Join(d.data, "resources.yaml")
	token := "demo-" + fmt.Sprint(time.Now().UnixNano())
	text := strings.NewReplacer("$ACCOUNT", demoAccount, "$TOKEN", token, "$LINE", demoLine,
		"$CAP", fmt.Sprint(d.concurrency), "$RING", fmt.Sprint(demoRing)).Replace(demoResources)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	cfg := defaults()
	cfg.Data, cfg.HTTP, cfg.SIP, cfg.Apply, cfg.MinFreeMB, cfg.LogLevel, cfg.simSpeed = d.data, "127.0.0.1:0", "127.0.0.1:0", file, 64, "error", demoSpeed
	if err := cfg.check(); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "waihu demo: %d numbers on %d channels, data in %s\n", d.numbers, d.concurrency, d.data)
	s, err := newServer(ctx, cfg, std.env, newLog(std.err, cfg.LogLevel), io.Discard)
	if err != nil {
		return err
	}
	d.server = s
	host := s.http.Addr().(*net.TCPAddr)
	d.client = &vendorClient{base: fmt.Sprintf("http://%s", host), user: demoAccount, token: token}
	for i := range d.numbers {
		d.phones = append(d.phones, demoPhone(i))
	}
	return nil
}

// demoPhone is the i-th number: callees come mixed, each hundred holds every kind by its weight.
func demoPhone(i int) waihu.PhoneNumber {
	place := i * 37 % 100 // 37 and 100 have no common factor, so each place comes once in a hundred
	for _, c := range demoCallees {
		if place -= c.weight; place < 0 {
			return waihu.PhoneNumber(fmt.Sprintf("+999%06d%02d", i, c.suffix))
		}
	}
	panic("the weights of the demonstration's callees do not add up to 100")
}

// call runs the task through the HTTP API and judges it.
func (d *demo) call(ctx context.Context) error {
	if err := d.begin(ctx); err != nil {
		return err
	}
	events, leave := d.server.hub.Watch("")
	defer leave()
	began := time.Now()
	if err := d.client.startTask(ctx, d.task); err != nil {
		return err
	}
	if err := d.follow(ctx, newLiveCalls(events), began); err != nil {
		return err
	}
	return d.judge(ctx, time.Since(began))
}

func (d *demo) begin(ctx context.Context) error {
	now := time.Now().In(waihu.Location(""))
	var err error
	d.task, err = d.client.newTask(ctx, "demo", "123", demoLine, 1, d.concurrency,
		now.Add(-time.Hour).Format(time.DateTime), now.Add(24*time.Hour).Format(time.DateTime))
	if err != nil {
		return err
	}
	rows := make([]map[string]any, len(d.phones))
	for i, p := range d.phones {
		rows[i] = map[string]any{"phone": string(p)}
	}
	return d.client.addNumbers(ctx, d.task, rows)
}

// follow draws the bar until every number is done.
func (d *demo) follow(ctx context.Context, calls *liveCalls, began time.Time) error {
	b := newBar(d.out, "", int64(d.numbers))
	defer b.end()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	limit := time.Duration(d.numbers/d.concurrency+4) * time.Minute
	for {
		counts, err := d.server.store.Counts(ctx, demoAccount, waihu.TaskID(d.task))
		if err != nil {
			return err
		}
		done := counts.State[waihu.NumberDone]
		dialling, talking := calls.now()
		rate := float64(done) / max(1, time.Since(began).Seconds())
		b.set(int64(done), fmt.Sprintf("%d/%d, %d dialling, %d talking, cap %d, %d answered, %.1f calls/s",
			done, d.numbers, dialling, talking, d.concurrency, counts.Answered, rate)) // fits 80 columns
		if done >= d.numbers {
			return nil
		}
		if time.Since(began) > limit {
			return fmt.Errorf("only %d of %d numbers were done after %v", done, d.numbers, limit)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// liveCalls counts calls by what the events say of them.
type liveCalls struct {
	events <-chan waihu.Event
	state  map[waihu.CallID]waihu.EventKind
}

func newLiveCalls(events <-chan waihu.Event) *liveCalls {
	return &liveCalls{events, map[waihu.CallID]waihu.EventKind{}}
}

// now reads what has arrived and counts.
func (l *liveCalls) now() (dialling, talking int) {
	for more := true; more; {
		select {
		case e, ok := <-l.events:
			if !ok {
				more = false
				break
			}
			switch e.Kind {
			case waihu.EventCallDialing, waihu.EventCallRinging, waihu.EventCallAnswered:
				l.state[e.Call] = e.Kind
			case waihu.EventCallEnded:
				delete(l.state, e.Call)
			}
		default:
			more = false
		}
	}
	for _, kind := range l.state {
		if kind == waihu.EventCallAnswered {
			talking++
		} else {
			dialling++
		}
	}
	return dialling, talking
}

// judge compares every number's outcome with its callee's script, prints the table and fails on any difference.
func (d *demo) judge(ctx context.Context, took time.Duration) error {
	type row struct {
		script carrier.Script
		got    map[waihu.Disposition]int
		wrong  int
	}
	rows := map[string]*row{}
	wrong := 0
	var example *waihu.Call
	for page := 1; ; page++ {
		calls, total, err := d.server.store.Calls(ctx, demoAccount, waihu.TaskID(d.task), callPage(page))
		if err != nil {
			return err
		}
		for i := range calls {
			c := &calls[i]
			s := carrier.ScriptFor(c.Phone)
			r := rows[s.Suffix]
			if r == nil {
				r = &row{script: s, got: map[waihu.Disposition]int{}}
				rows[s.Suffix] = r
			}
			r.got[c.Outcome.Disposition]++
			if !s.Allows(c.Outcome.Disposition) {
				r.wrong++
				wrong++
			}
			if s.Suffix == "01" && c.Outcome.Disposition == waihu.Answered && (example == nil || c.Outcome.Grade == "A" && example.Outcome.Grade != "A") {
				example = c
			}
		}
		if page*callsPerPage >= total {
			if total != d.numbers {
				wrong++
				fmt.Fprintf(d.out, "%d calls for %d numbers\n", total, d.numbers)
			}
			break
		}
	}
	w := tabwriter.NewWriter(d.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "\ncallee\tits script\tmust end as\tended as\t")
	keys := make([]string, 0, len(rows))
	for k := range rows {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		r := rows[k]
		verdict := "ok"
		if r.wrong > 0 {
			verdict = fmt.Sprintf("%d WRONG", r.wrong)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k, r.script.Name, words(r.script.Dispositions), tally(r.got), verdict)
	}
	w.Flush()
	findings := d.server.sim.Findings()
	for _, f := range findings {
		fmt.Fprintln(d.out, "the carrier objects:", f)
	}
	fmt.Fprintf(d.out, "\n%d numbers in %s, at most %d calls at once by the carrier's count (cap %d)\nrecordings: %s\n",
		d.numbers, took.Round(time.Second), d.server.sim.Peak(), d.concurrency, filepath.Join(d.data, "recordings"))
	if example != nil {
		if err := d.transcript(ctx, example.ID); err != nil {
			return err
		}
	}
	fmt.Fprintf(d.out, "\ngo on: go run ./cmd/waihu serve --data %s --apply YOUR_RESOURCES.yaml   (see README.md, a first real call)\n", d.data)
	switch {
	case wrong > 0:
		return fmt.Errorf("%d numbers did not end as their callees demanded", wrong)
	case len(findings) > 0:
		return fmt.Errorf("the carrier found %d broken rules", len(findings))
	case d.server.sim.Peak() > d.concurrency:
		return fmt.Errorf("the carrier saw %d calls at once, above the cap of %d", d.server.sim.Peak(), d.concurrency)
	}
	return nil
}

func words(ds []waihu.Disposition) string {
	var s []string
	for _, d := range ds {
		s = append(s, d.String())
	}
	return strings.Join(s, " or ")
}

func tally(got map[waihu.Disposition]int) string {
	var s []string
	for d := range waihu.Expired + 1 {
		if n := got[d]; n > 0 {
			s = append(s, fmt.Sprintf("%d %s", n, d))
		}
	}
	return strings.Join(s, ", ")
}

// transcript prints what was said in one call.
func (d *demo) transcript(ctx context.Context, id waihu.CallID) error {
	c, err := d.server.store.Call(ctx, demoAccount, waihu.TaskID(d.task), id)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\none call (%s, %s, grade %s, heard by %s):\n", c.Phone.Masked(), c.Outcome.Talk().Round(time.Second), c.Outcome.Grade, c.Outcome.Recognizer)
	for _, t := range c.Outcome.Transcript {
		fmt.Fprintf(d.out, "  %5.1fs %-6s %s\n", float64(t.FromMS)/1000, t.Who, turnText(t))
	}
	fmt.Fprintf(d.out, "  recording: %s\n", filepath.Join(d.data, "recordings", c.Outcome.Recording))
	return nil
}

// turnText is what a turn says to a reader, also one without words.
func turnText(t waihu.Turn) string {
	switch {
	case t.Text != "":
		return t.Text
	case t.Digit != "":
		return "(pressed " + t.Digit + ")"
	case strings.HasPrefix(t.Why, "silence"):
		return "(silence)"
	}
	return "(speech, no words)"
}
