package egress

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	c := New(Options{})
	for _, bad := range strings.Fields(`0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.254 127.0.0.1 127.255.0.1 169.254.169.254 172.16.0.1 172.31.255.255
		192.0.0.1 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.1 198.51.100.1 203.0.113.9 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255
		:: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b::808:808 64:ff9b:1::1 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2
		2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1::1 2002:808:808::1 3fff::1 5f00::1 fc00::1 fd12:3456::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1 4000::1 2606:4700::1111%1`) {
		err := c.CheckAddr(netip.MustParseAddr(bad))
		var refused *AddressError
		if !errors.As(err, &refused) {
			t.Errorf("%s may be dialled: %v", bad, err)
		}
	}
	for _, good := range strings.Fields(`1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 126.1.1.1 128.0.0.1 172.15.0.1 172.32.0.1 192.0.1.1 192.167.1.1 198.17.1.1 198.20.0.1 223.255.255.1
		::ffff:8.8.8.8 2606:4700:4700::1111 2400:3200::1 2001:4860:4860::8888 2a00:1450::1`) {
		if err := c.CheckAddr(netip.MustParseAddr(good)); err != nil {
			t.Errorf("%s may not be dialled: %v", good, err)
		}
	}
	if err := c.CheckAddr(netip.Addr{}); err == nil {
		t.Error("no address may be dialled")
	}
	allowed := New(Options{Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8")}})
	for text, good := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "fd00::1": true, "10.2.0.1": false, "127.0.0.1": false, "fc00::1": false} {
		if err := allowed.CheckAddr(netip.MustParseAddr(text)); (err == nil) != good {
			t.Errorf("with 10.1.0.0/16 and fd00::/8 allowed, %s: %v", text, err)
		}
	}
	for text, good := range map[string]bool{"https://example.com/x": true, "http://8.8.8.8:8080": true, "http://127.0.0.1/": false, "http://[::1]/": false, "ftp://example.com": false, "http://": false,
		"//example.com": false, "example.com": false, "http://[::ffff:169.254.169.254]/": false} {
		if err := c.CheckURL(text); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestDialledAddress: every way to name this host ends at the check of what is dialled.
func TestDialledAddress(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := New(Options{})
	defer c.Close()
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1", "2130706433", "0x7f000001"} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+host+":"+u.Port()+"/secret?token=x", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Do(r)
		if err == nil {
			t.Errorf("%s was dialled", host)
		} else if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "token") {
			t.Errorf("the error names the path: %v", err)
		}
	}
	conn, err := c.DialContext(t.Context(), "tcp", u.Host)
	var refused *AddressError
	if !errors.As(err, &refused) {
		t.Errorf("a plain connection: %v, %v", conn, err)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the server was asked %d times", n)
	}
}

// TestRebinding: a name that is public when it is looked at and private when it is dialled is refused, every time.
func TestRebinding(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	dns, lookups := nameServer(t, func(n int64) netip.Addr {
		if n == 1 {
			return netip.MustParseAddr("93.184.215.14") // what a check before the dial would see
		}
		return netip.MustParseAddr("127.0.0.1")
	})
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", dns)
	}}
	if first, err := resolver.LookupNetIP(t.Context(), "ip4", "rebind.example.com."); err != nil || first[0].Unmap().String() != "93.184.215.14" {
		t.Fatalf("the first answer is %v, %v", first, err)
	}
	c := New(Options{Resolver: resolver})
	defer c.Close()
	for range 3 {
		r, err := http.NewRequestWithContext(t.Context(), "POST", "http://rebind.example.com.:"+u.Port(), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Do(r)
		var refused *AddressError
		if !errors.As(err, &refused) {
			t.Errorf("the name that changed was dialled: %v", err)
		}
	}
	if lookups() < 4 || asked.Load() != 0 {
		t.Errorf("%d lookups, the server was asked %d times", lookups(), asked.Load())
	}
	if c := New(Options{Resolver: resolver, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}); true {
		defer c.Close()
		r, err := http.NewRequestWithContext(t.Context(), "POST", "http://rebind.example.com.:"+u.Port(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Do(r); err != nil || asked.Load() != 1 {
			t.Errorf("the same name where it is allowed: %v", err)
		}
	}
}

// nameServer answers every A question with what answer gives for the n-th, and others with nothing.
func nameServer(t *testing.T, answer func(n int64) netip.Addr) (addr string, count func() int64) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			q := buf[:size]
			end := 12
			for q[end] != 0 {
				end += int(q[end]) + 1
			}
			end += 5 // the root label, type, class
			reply := append([]byte{}, q[:end]...)
			reply[2], reply[3] = 0x84, 0
			clear(reply[6:12])
			if binary.BigEndian.Uint16(q[end-4:]) == 1 {
				reply[7] = 1
				a := answer(n.Add(1)).As4()
				reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				reply = append(reply, a[:]...)
			}
			_, _ = conn.WriteTo(reply, from)
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return conn.LocalAddr().String(), n.Load
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) {
		for range 100 {
			_, _ = w.Write(make([]byte, 4096))
		}
	})
	mux.HandleFunc("/hang", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/drip", func(w http.ResponseWriter, r *http.Request) { // headers, then a body that never ends
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	defer close(release)
	c := New(Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: 300 * time.Millisecond})
	defer c.Close()
	ask := func(url string) (*Response, error) {
		r, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		return c.Do(r)
	}
	short := c
	c = New(Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: time.Minute, DialTimeout: time.Minute})
	defer c.Close()
	if res, err := ask(server.URL + "/redirect"); !errors.Is(err, ErrRedirect) || res.Status != 302 {
		t.Errorf("a redirect: %v, %v", res, err)
	}
	if res, err := ask(server.URL + "/large"); err != nil || !res.More || len(res.Body) != 64<<10 {
		t.Errorf("a large body: %v, %v", res, err)
	}
	long := c
	c = short
	for _, path := range []string{"/hang", "/drip"} {
		if _, err := ask(server.URL + path); !errors.Is(err, errTimeout) {
			t.Errorf("%s: %v", path, err)
		}
	}
	secure := httptest.NewUnstartedServer(mux)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // the handshake that fails is what is wanted
	secure.StartTLS()
	defer secure.Close()
	c = long
	if res, err := ask(server.URL + "/ok"); err != nil || string(res.Body) != "hello" || res.More {
		t.Errorf("an answer: %v, %v", res, err)
	}
	if _, err := ask(secure.URL + "/ok"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of nobody: %v", err)
	}
	t.Run("no proxy", func(t *testing.T) {
		if c.transport.Proxy != nil {
			t.Error("the client uses a proxy of the environment")
		}
	})
}
