package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"time"

	"waihu"
	"waihu/audio"
	"waihu/line"
	"waihu/media"
	"waihu/sip"
)

// How long each step of a trunk check may take.
const (
	probeTimeout    = 6 * time.Second
	registerTimeout = 12 * time.Second
	listenTime      = 4 * time.Second
)

func runTrunk(ctx context.Context, std stdio, args []string) error {
	fs := newFlags("trunk")
	var cfg config
	cfg.ledgerFlags(fs)
	call := fs.String("call", "", "also call this `number` and listen for sound both ways")
	words, err := cfg.load(std, fs, args, 2, 2)
	if err != nil {
		return err
	}
	if words[0] != "check" {
		return usageErrorf("%q: check was expected", words[0])
	}
	return withStore(ctx, std, cfg, "trunk-check", url.Values{"line": {words[1]}, "call": {*call}}, nil, printer(std))
}

// checkTrunk says step by step what works and, at the first step that does not, what fails and what to do.
func (s *server) checkTrunk(ctx context.Context, q url.Values, _ io.Reader, tell func(message)) error {
	id := waihu.LineID(q.Get("line"))
	all, err := s.store.Trunks(ctx)
	if err != nil {
		return err
	}
	var row *waihu.Line
	var known []string
	for i := range all {
		if all[i].ID == id {
			row = &all[i]
		}
		known = append(known, string(all[i].ID))
	}
	if row == nil {
		return fmt.Errorf("there is no line %q; there are: %s", id, listed(known))
	}
	say := func(format string, args ...any) { tell(message{Say: fmt.Sprintf(format, args...)}) }
	trunk := row.Trunk
	if trunk.Simulated() {
		s.mu.Lock()
		trunk.URI = "sip:" + s.simAddr()
		s.mu.Unlock()
	}
	peer, err := sip.NewPeer(trunk)
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	say("settings: ok")
	local, err := s.ua.LocalIP(ctx, peer)
	if err != nil {
		return fmt.Errorf("DNS or route: %s cannot be reached: %w", trunk.URI, err)
	}
	say("DNS and route: ok, the trunk sees us as %s", local)
	forget, err := s.ua.Allow(ctx, peer)
	if err != nil {
		return fmt.Errorf("DNS: %w", err)
	}
	defer forget()
	probe, cancel := context.WithTimeout(ctx, probeTimeout)
	took, silent := s.ua.Options(probe, peer)
	cancel()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if silent != nil {
		say("port: no answer to OPTIONS. Either the address or port is wrong, a firewall drops it, or the trunk ignores OPTIONS (some do)")
	} else {
		say("port: ok, OPTIONS answered after %v", took.Round(time.Millisecond))
	}
	if peer.Registers() {
		release, err := s.checkRegister(ctx, peer)
		if err != nil {
			return err
		}
		defer release()
		say("registration: ok")
	}
	number := waihu.PhoneNumber(q.Get("call"))
	switch {
	case number == "" && silent != nil && !peer.Registers():
		return fmt.Errorf("port: nothing has answered. Check address, port, transport and firewall, or give --call NUMBER when the trunk ignores OPTIONS: %w", silent)
	case number == "":
		say("call: not tried; give --call NUMBER to try a real one")
		return nil
	}
	return s.checkCall(ctx, row, trunk, peer, number, say)
}

// checkRegister registers once more beside the registration that the server keeps.
func (s *server) checkRegister(ctx context.Context, peer *sip.Peer) (func(), error) {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	state, release := s.ua.TryRegister(ctx, peer)
	if state.Up {
		return release, nil
	}
	release()
	return nil, refusedRegister(state)
}

func refusedRegister(state sip.RegState) error {
	switch {
	case state.Status == 401 || state.Status == 403 || state.Status == 407:
		return fmt.Errorf("registration: refused with %d: check username, auth_username, password and domain", state.Status)
	case state.Status != 0:
		return fmt.Errorf("registration: refused with %d: %w", state.Status, state.Err)
	default:
		return fmt.Errorf("registration: no answer: %w", state.Err)
	}
}

// checkCall calls a number with a tone for a while, and says whether sound went both ways.
func (s *server) checkCall(ctx context.Context, row *waihu.Line, trunk waihu.Trunk, peer *sip.Peer, number waihu.PhoneNumber, say func(string, ...any)) error {
	number, err := waihu.ParsePhone(string(number))
	if err != nil {
		return fmt.Errorf("--call: %w", err)
	}
	if why := line.Refuses(&row.Trunk, number); why != "" {
		return fmt.Errorf("--call: this line would not dial it: %s", why)
	}
	local, err := s.ua.LocalIP(ctx, peer)
	if err != nil {
		return err
	}
	tone := &toneApp{pcm: audio.Tone(8000, -20, 440)}
	bind, _ := netip.ParseAddr(trunk.Bind) // none: the engine's
	session, err := s.engine.Open(media.SessionConfig{Local: local, Bind: bind, Codecs: trunk.Codecs, Ptime: time.Duration(trunk.Ptime) * time.Millisecond,
		EarlyRTP: trunk.EarlyRTP, App: tone})
	if err != nil {
		return fmt.Errorf("RTP port: %w", err)
	}
	defer session.Close()
	var caller waihu.PhoneNumber
	if len(trunk.CallerIDs) > 0 {
		caller = waihu.PhoneNumber(trunk.CallerIDs[0])
	}
	// The call is none of the ledger's: its id is of no shard that exists, so that it can never meet one that is.
	id := waihu.NewCallID(1<<18, 0, time.Now().UnixNano()&waihu.MaxCallSeq)
	say("call: calling %s", number.Masked())
	dialog, err := s.ua.Invite(ctx, sip.Invite{Call: id, Peer: peer, Callee: number, Caller: caller, SDP: session.Offer(),
		RingTimeout: time.Duration(trunk.RingTimeout) * time.Second,
		OnProgress:  func(p sip.Progress) { say("call: %d %s", p.Status, p.Phrase) }})
	if err != nil {
		var f *sip.Failure
		if errors.As(err, &f) {
			return fmt.Errorf("call: %w%s", err, advice(f))
		}
		return fmt.Errorf("call: %w", err)
	}
	defer dialog.Bye(context.WithoutCancel(ctx), sip.HangUp{By: waihu.BySystem})
	if err := session.Remote(dialog.RemoteSDP()); err != nil {
		return fmt.Errorf("codec: the call was answered, but with %w; the line offers %v", err, trunk.Codecs)
	}
	session.Start()
	say("call: answered, listening for %v", listenTime)
	select {
	case <-time.After(listenTime):
	case <-dialog.Ended():
	case <-ctx.Done():
	}
	stats := session.Close()
	switch {
	case stats.Received == 0 && stats.Foreign > 0:
		return fmt.Errorf("one-way audio: %d packets came, all from an address that the trunk did not name", stats.Foreign)
	case stats.Received == 0:
		return fmt.Errorf("one-way audio: nothing came back. The trunk sends RTP to %s: set public_address when this machine is behind NAT, open the RTP ports in the firewall, or try early_rtp", local)
	case stats.Sent == 0:
		return errors.New("one-way audio: nothing was sent")
	}
	say("sound: %d packets received, %d sent, %d lost", stats.Received, stats.Sent, stats.Lost)
	return nil
}

// advice adds what to do about a failed call, where that is known.
func advice(f *sip.Failure) string {
	switch {
	case f.Status == 401 || f.Status == 407:
		return ": check username, auth_username and password"
	case f.Status == 403:
		return ": the trunk does not allow it: check the caller number, caller_header, and that this machine's address is registered there"
	case f.Status == 404 || f.Status == 484:
		return ": the number was not understood: check callee_rewrite"
	case f.Status == 488 || f.Status == 415:
		return ": no common codec: check codecs"
	case f.Status == 0:
		return ": nothing answered: check address, port and firewall"
	}
	return ""
}

// toneApp sends a tone as long as the session asks.
type toneApp struct {
	pcm []int16
	at  int
}

func (a *toneApp) Frame(f *media.Frame) bool {
	for i := range f.Out {
		f.Out[i] = a.pcm[a.at]
		a.at = (a.at + 1) % len(a.pcm)
	}
	return true
}
