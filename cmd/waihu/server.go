package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"waihu"
	"waihu/agent"
	"waihu/api"
	"waihu/call"
	"waihu/carrier"
	"waihu/egress"
	"waihu/keyue"
	"waihu/line"
	"waihu/live"
	"waihu/media"
	"waihu/queue"
	"waihu/schedule"
	"waihu/sip"
	"waihu/speech"
	"waihu/store"
	"waihu/voicefox"
	"waihu/webhook"
	"waihu/wrapup"
	"waihu/yunfu"
)

// server is the whole platform in one process. newServer opens everything and starts
// nothing; run works until drained or stopped.
type server struct {
	cfg     config
	log     *slog.Logger
	store   *store.Store
	hub     *live.Hub
	voice   *speech.Synth
	engine  *media.Engine
	ua      *sip.Endpoint
	lines   *line.Lines
	sched   *schedule.Scheduler
	ahead   *lookahead
	jobs    *queue.Queue
	records *wrapup.Recordings
	out     *egress.Client // for addresses that tenants gave
	hooks   *webhook.Deliverer
	http    net.Listener
	admin   net.Listener

	mu    sync.Mutex                                         // one configure at a time; guards what follows
	sim   *carrier.Carrier                                   // nil until a line wants it
	start func(name string, run func(context.Context) error) // nil while run does not run
}

// newServer opens the ledger, applies the resources file when there is one, and takes the ports.
func newServer(ctx context.Context, cfg config, env func(string) (string, bool), log *slog.Logger, out io.Writer) (*server, error) {
	s := &server{cfg: cfg, log: log, hub: &live.Hub{}}
	if err := s.open(ctx, env, out); err != nil {
		s.abandon()
		return nil, err
	}
	return s, nil
}

// abandon releases what open took; a room that has ended context when it starts closes its sockets and leaves.
func (s *server) abandon() {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if s.ua != nil {
		_ = s.ua.Run(over)
	}
	if s.sim != nil {
		_ = s.sim.Run(over)
	}
	s.close()
}

func (s *server) open(ctx context.Context, env func(string) (string, bool), out io.Writer) error {
	cfg := s.cfg
	var err error
	if s.store, err = openStore(ctx, cfg, env, s.log); err != nil {
		return err
	}
	if s.records, err = cfg.recordings(s.store, env, s.log); err != nil {
		return err
	}
	if s.voice, err = newVoice(cfg); err != nil {
		return err
	}
	if s.out, err = newEgress(cfg); err != nil {
		return err
	}
	if cfg.Apply != "" {
		raw, err := os.ReadFile(cfg.Apply)
		if err != nil {
			return fmt.Errorf("reading the resources: %w", err)
		}
		if err := applyResources(ctx, s.store, cfg.Apply, raw, cfg.calls(), func(line string) { fmt.Fprintln(out, line) }); err != nil {
			return err
		}
	}
	lines, err := s.store.Trunks(ctx)
	if err != nil {
		return err
	}
	if err := s.openPorts(cfg, lines); err != nil {
		return err
	}
	s.hooks = s.newDeliverer() // its links name the port
	return s.configure(ctx)
}

// configure hands the ledger's lines to the line room. The first simulated one brings the simulated carrier up.
func (s *server) configure(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines, err := s.store.Trunks(ctx)
	if err != nil {
		return err
	}
	if s.sim == nil && slices.ContainsFunc(lines, func(l waihu.Line) bool { return l.Trunk.Simulated() }) {
		if s.sim, err = carrier.New(carrier.Options{Log: s.log, Seed: 1, Speed: s.cfg.simSpeed}); err != nil {
			return fmt.Errorf("simulated carrier: %w", err)
		}
		if s.start != nil {
			s.start("simulated carrier", s.sim.Run)
		}
	}
	s.lines.Configure(lines)
	return nil
}

// followEvery is how soon a line that another process wrote into the same PostgreSQL is known here.
const followEvery = 2 * time.Second

// follow keeps the lines those of a ledger that other processes write too. SQLite has no other: its folder is locked.
func (s *server) follow(ctx context.Context) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := s.configure(ctx)
		if err != nil && ctx.Err() == nil && !failing { // once for a database that is away
			s.log.Warn("the lines could not be read again", "err", err)
		}
		failing = err != nil
	}
}

// simAddr is where the simulated carrier listens, "" when no line wanted it yet. configure holds the lock when it asks.
func (s *server) simAddr() string {
	if s.sim == nil {
		return ""
	}
	return s.sim.Addr()
}

// openPorts takes the sockets: HTTP, commands, SIP and the RTP range.
func (s *server) openPorts(cfg config, lines []waihu.Line) error {
	sipAddr := netip.MustParseAddrPort(cfg.SIP) // checked by config.check
	low, high, err := cfg.rtpRange()
	if err != nil {
		return err
	}
	need := 0
	for _, l := range lines {
		need += l.Concurrency
	}
	if s.engine, err = media.New(media.Config{PortLow: low, PortHigh: high, Bind: sipAddr.Addr(), Threads: cfg.Threads, Calls: need, Log: s.log}); err != nil {
		return fmt.Errorf("--rtp: %w", err)
	}
	if s.ua, err = sip.New(sip.Options{
		Listen:    []sip.ListenAddr{{Network: "udp", Addr: cfg.SIP}, {Network: "tcp", Addr: cfg.SIP}},
		UserAgent: "waihu", Log: s.log, Journal: cfg.journal(),
	}); err != nil {
		return listenError("--sip", cfg.SIP, err)
	}
	s.records.Compact = s.ua.CompactJournal
	s.lines = line.New(line.Options{Endpoint: s.ua, Done: s.booked, SimAddr: s.simAddr, Log: s.log, Call: call.Deps{
		Endpoint: s.ua, Engine: s.engine, Sounds: s.voice, Recognizer: speech.RecognizerFor, Recordings: cfg.recordingsFolder(),
		Publish: s.hub.Publish, Log: s.log, Bind: sipAddr.Addr(),
	}})
	agents := heardAgents{s.store}
	s.sched = schedule.New(schedule.Options{Store: s.store, Place: s.lines, Agent: agents.Agent, AgentVersion: agents.AgentVersion, Owner: s.store.Owner(), Publish: s.publish, Log: s.log,
		Lost: s.records.Lost, Crash: cfg.crash})
	s.ahead = newLookahead(agents, s.voice, s.sched.Health, s.log)
	handlers := yunfu.Jobs(s.vendor())
	maps.Copy(handlers, keyue.Jobs(s.keyue()))
	work := queue.Options{Store: s.store, Handle: handlers, GaveUp: keyue.GaveUp(s.keyue()), Lease: cfg.jobLease, Log: s.log}
	newWrapup(s.store, s.log).Join(&work)
	s.records.Join(&work)
	s.jobs = queue.New(work)
	if s.http, err = net.Listen("tcp", cfg.HTTP); err != nil {
		return listenError("--http", cfg.HTTP, err)
	}
	s.admin, err = listenAdmin(cfg.Data)
	return err
}

// listenError says what to do about an address that cannot be listened on.
func listenError(setting, addr string, err error) error {
	advice := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		advice = "another program uses that port: stop it or choose another"
	case errors.Is(err, syscall.EACCES):
		advice = "this user may not listen on a port below 1024: choose a higher one"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = "this machine has no such address"
	default:
		return fmt.Errorf("%s %s: %w", setting, addr, err)
	}
	return fmt.Errorf("%s %s: %s (%w)", setting, addr, advice, err)
}

// publish takes the scheduler's events.
func (s *server) publish(e waihu.Event) {
	s.hub.Publish(e)
	s.ahead.note(e)
	if e.Kind == waihu.EventCallEnded { // it may be looked at afterwards
		s.jobs.Wake()
	}
}

func (s *server) booked(o waihu.Outcome) { s.sched.Book(o) }

// preflight says what stands against starting a task: agents that cannot talk, texts without a voice.
func (s *server) preflight(ctx context.Context, t waihu.Task) []waihu.Problem {
	var problems []waihu.Problem
	for _, id := range t.Agents() {
		spec, err := heardAgents{s.store}.TaskAgent(ctx, &t, id)
		if err != nil {
			problems = append(problems, waihu.Problem{Field: "agent", Message: fmt.Sprintf("agent %s: %v", id, err)})
			continue
		}
		if spec.State != waihu.AgentOnline {
			problems = append(problems, waihu.Problem{Field: "agent", Message: fmt.Sprintf("agent %s (%s) is offline: publish it before it calls", id, spec.Name)})
			continue
		}
		if err := agent.Usable(&spec); err != nil {
			problems = append(problems, waihu.Problem{Field: "agent", Message: fmt.Sprintf("agent %s: %v", id, err)})
			continue
		}
		problems = append(problems, agent.Check(&spec)...)
		problems = append(problems, s.voice.Missing(&spec)...)
	}
	if len(problems) == 0 && t.ID != "" { // a task that is only asked about is not made yet
		s.ahead.begin(t)
	}
	return problems
}

// notReady says why nothing new is dialled; "" when it is. An idle scheduler does not look at the disk, so the ledger is asked too.
func (s *server) notReady(ctx context.Context) string {
	if ready, why := s.sched.Health(); !ready {
		return why
	}
	if err := s.store.Ready(ctx); err != nil {
		return err.Error()
	}
	return ""
}

// vendor joins the door with the rest; its jobs are made with it too, before there is a queue to wake.
func (s *server) vendor() yunfu.Options {
	o := yunfu.Options{
		Store: s.store, Preflight: s.preflight, Recordings: s.records.Open,
		BusyStatus: s.cfg.BusyStatus, PerSecond: s.cfg.PerSecond, RefuseImportWhileStarted: s.cfg.NoImport, NoStopTime: s.cfg.NoStopTime, Milliseconds: s.cfg.Millis, Log: s.log,
	}
	if s.jobs != nil {
		o.Wake = s.jobs.Wake
	}
	if o.Public = s.cfg.Callbacks.Public; o.Public == "" && s.http != nil {
		o.Public = "http://" + s.http.Addr().String()
	}
	return o
}

// handler serves health and the doors. It is no ServeMux: one would answer a path with a doubled slash by a
// redirect, on which many clients drop the body; the doors tidy such paths themselves.
func (s *server) handler() http.Handler {
	vendor, keyueDoor, foxDoor, native := yunfu.New(s.vendor()), keyue.New(s.keyue()), voicefox.New(s.voicefox()), api.New(s.native())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz":
			fmt.Fprintln(w, "ok")
		case "/readyz":
			if why := s.notReady(r.Context()); why != "" {
				http.Error(w, "not ready: "+why, http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintln(w, "ready")
		default:
			if keyue.Owns(r.URL.Path) {
				keyueDoor.ServeHTTP(w, r)
				return
			}
			if voicefox.Owns(r.URL.Path) {
				foxDoor.ServeHTTP(w, r)
				return
			}
			if strings.HasPrefix(r.URL.Path, api.Prefix) {
				native.ServeHTTP(w, r)
				return
			}
			vendor.ServeHTTP(w, r)
		}
	})
}

// Limits of HTTP connections: a body is bounded by its handler.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
)

// run works until a signal has been obeyed: the first drains (nothing new is dialled, calls in progress
// go on), the second, or the end of ctx, hangs up every call. Everything is closed when it returns.
func (s *server) run(ctx context.Context, signals <-chan os.Signal) error {
	defer s.close()
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx)) // sockets and loops: the last to stop
	defer stopWork()
	var rooms sync.WaitGroup
	failed := make(chan error, 8)
	start := func(name string, f func(context.Context) error) {
		rooms.Go(func() {
			if err := f(work); err != nil && work.Err() == nil {
				failed <- fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	asked, stopAsked := context.WithCancel(work) // what the command line asked for
	defer stopAsked()
	front := &http.Server{Handler: lingering(s.handler()), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout}
	admin := &http.Server{Handler: drained(adminHandler(s.operations())), ReadHeaderTimeout: headerTimeout, BaseContext: func(net.Listener) context.Context { return asked }}
	serveHTTP := func(h *http.Server, l net.Listener) {
		rooms.Go(func() {
			if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
	}
	s.mu.Lock()
	s.start = start
	if s.sim != nil {
		start("simulated carrier", s.sim.Run)
	}
	s.mu.Unlock()
	start("media", s.engine.Run)
	start("sip", s.ua.Run)
	start("lines", s.lines.Run)
	start("store", s.store.Maintain)
	start("retention", s.store.Retain)
	start("jobs", s.jobs.Run)
	start("callbacks", s.hooks.Run)
	start("schedule", s.sched.Run)
	if s.cfg.Database != "" {
		start("lines of the ledger", s.follow)
	}
	start("look-ahead", s.ahead.Run)
	serveHTTP(front, s.http)
	serveHTTP(admin, s.admin)

	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	case sig := <-signals:
		s.log.Info("draining: nothing new is dialled, calls in progress go on; a second signal hangs up", "signal", sig.String())
		err = s.drain(ctx, signals, failed)
	}
	s.lines.HangUp()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), hangUpTimeout)
	defer cancel()
	if e := s.lines.Wait(last); e != nil {
		s.log.Warn("calls were left on the wire: the next start ends them", "calls", s.lines.Live())
	}
	if e := s.sched.Drain(last); e != nil {
		s.log.Warn("outcomes were left unbooked: the next start books them", "err", e)
	}
	stop, cancelStop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancelStop()
	stopAsked()
	_ = front.Shutdown(stop)
	_ = admin.Shutdown(stop)
	_ = admin.Close()
	_ = front.Close()
	stopWork()
	rooms.Wait()
	return err
}

// hangUpTimeout is how long the answers to our BYEs are awaited: 64*T1 and a little.
const hangUpTimeout = 34 * time.Second

func (s *server) drain(ctx context.Context, signals <-chan os.Signal, failed <-chan error) error {
	drained, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan error, 1)
	go func() { over <- s.sched.Drain(drained) }() // ends with cancel at the latest
	select {
	case <-over:
		return nil
	case err := <-failed:
		return err
	case sig := <-signals:
		s.log.Info("hanging up", "signal", sig.String())
		return nil
	}
}

// close releases what newServer opened; run has stopped everything by then.
func (s *server) close() {
	for _, l := range []net.Listener{s.http, s.admin} {
		if l != nil {
			l.Close()
		}
	}
	if s.out != nil {
		s.out.Close()
	}
	if s.store != nil {
		if err := s.store.Close(); err != nil {
			s.log.Error("closing the ledger", "err", err)
		}
	}
}
