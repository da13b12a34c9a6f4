package sip

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	gosip "github.com/emiago/sipgo/sip"

	"waihu"
)

func TestTCP(t *testing.T) {
	t.Parallel()
	e := startEndpoint(t, func(o *Options) { o.Listen = append(o.Listen, ListenAddr{"tcp", "127.0.0.1:0"}) })
	f := newTCPFarEnd(t)
	s := &fakeSession{}
	d, inv := up(t, e, f, Invite{Session: s}, answer{})
	if !strings.HasPrefix(inv.Via().Value(), "SIP/2.0/TCP 127.0.0.1:") || inv.Contact().Address.UriParams.GetOr("transport", "") != "tcp" {
		t.Errorf("Via %s, Contact %s", inv.Via().Value(), inv.Contact().Value())
	}
	if want := e.listeners[0].Addr().String(); inv.Contact().Address.HostPort() != want {
		t.Errorf("Contact %s, want our listener %s", inv.Contact().Address.HostPort(), want)
	}
	// Two messages in one segment, one message over several, keep-alives between.
	one := f.dialogRequest(gosip.INFO, inv, "far", 1, []string{"Content-Type: application/dtmf"}, "1").String()
	two := f.dialogRequest(gosip.INFO, inv, "far", 2, []string{"Content-Type: application/dtmf"}, "2").String()
	three := f.dialogRequest(gosip.INFO, inv, "far", 3, []string{"Content-Type: application/dtmf"}, "3").String()
	f.write([]byte(one + "\r\n\r\n" + two + three[:57]))
	f.expectStatus(gosip.INFO, 200)
	f.expectStatus(gosip.INFO, 200)
	f.write([]byte(three[57:]))
	f.expectStatus(gosip.INFO, 200)
	eventually(t, "three digits", func() bool { _, _, digits := s.see(); return digits == "123" }) // told after the 200
	bye(t, f, d)
	// The connection falls; the next call opens another.
	f.mu.Lock()
	f.conn.Close()
	f.mu.Unlock()
	eventually(t, "the closed connection", func() bool { c, err := e.tcp.GetConnection("tcp", f.addr()); return err != nil || c == nil })
	d, _ = up(t, e, f, Invite{}, answer{})
	bye(t, f, d)
}

// A peer that calls our listener is answered on its own connection; many connections of one source are not.
func TestTCPListener(t *testing.T) {
	t.Parallel()
	e := startEndpoint(t, func(o *Options) { o.Listen = append(o.Listen, ListenAddr{"tcp", "127.0.0.1:0"}) })
	forget, err := e.Allow(context.Background(), mustPeer(t, waihu.Trunk{URI: "sip:127.0.0.1:1", Transport: "tcp"}))
	if err != nil {
		t.Fatal(err)
	}
	defer forget()
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range tcpPerSource + 1 {
		c, err := net.Dial("tcp", e.listeners[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	eventually(t, "a refused connection", func() bool { return e.Stats().Limited == 1 })
	c := open[0]
	fmt.Fprintf(c, "OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP %s;branch=z9hG4bKx;rport\r\nMax-Forwards: 70\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:x@127.0.0.1>\r\nCall-ID: tcp1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n", c.LocalAddr())
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil || !strings.HasPrefix(string(buf[:n]), "SIP/2.0 200") {
		t.Errorf("%q %v", buf[:n], err)
	}
}

func TestTCPRefused(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	e := startEndpoint(t, nil)
	ch := dial(context.Background(), e, Invite{Peer: mustPeer(t, waihu.Trunk{URI: "sip:" + addr, Transport: "tcp"})})
	f := failed(t, ch)
	if f.Disposition != waihu.OurFault || !f.InviteAt.IsZero() || !strings.Contains(f.Error(), addr) {
		t.Errorf("%+v: %v", f, f)
	}
}

// The connection of a call that stands falls: the BYE goes over another to where the Contact points.
func TestTCPFallsDuringACall(t *testing.T) {
	t.Parallel()
	e := startEndpoint(t, func(o *Options) { o.Listen = append(o.Listen, ListenAddr{"tcp", "127.0.0.1:0"}) })
	f := newTCPFarEnd(t)
	d, _ := up(t, e, f, Invite{}, answer{})
	f.mu.Lock()
	f.conn.Close()
	f.mu.Unlock()
	eventually(t, "the closed connection", func() bool { c, err := e.tcp.GetConnection("tcp", f.addr()); return err != nil || c == nil })
	bye(t, f, d)
	if end := d.End(); end.Status != 200 {
		t.Errorf("%+v", end)
	}
	idle(t, e)
}
