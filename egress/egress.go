// Package egress is the one HTTP client for addresses that tenants give us: callbacks, bots, model servers.
//
// What it guarantees: a connection is made only to public addresses and to the networks that the operator allowed,
// checked on the address that is really dialled, after every resolution, so that a name which resolves differently the second
// time (DNS rebinding) gains nothing; redirects are not followed; no proxy of the environment is used; certificates are
// verified, TLS 1.2 or later; a body that is read through Do is bounded, and so is its time. Errors name neither path nor
// query of an address: they may hold secrets.
//
// A Client may be used by any number of goroutines and keeps connections alive between them. A slow server costs the goroutine that
// waits for it, until its timeout.
//
// To test against it, allow 127.0.0.0/8 and serve with httptest; Options.Resolve and RootCAs take a resolver and
// certificates of the test.
package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// Options say what is allowed. The zero value is good: public addresses only.
type Options struct {
	Allow       []netip.Prefix // networks that are allowed although they are not public
	Timeout     time.Duration  // of Do, from its call to the end of the answer's body; default 5 s
	DialTimeout time.Duration  // default 3 s
	MaxBody     int64          // bytes of an answer that Do reads; default 64 KiB
	RootCAs     *x509.CertPool // nil: the system's
	Resolver    *net.Resolver  // nil: the system's
	IdlePerHost int            // connections kept alive to one host; default 8
}

// Client is the guarded client.
type Client struct {
	o         Options
	dialer    *net.Dialer
	transport *http.Transport
}

// New makes a client; Close ends its idle connections.
func New(o Options) *Client {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = 3 * time.Second
	}
	if o.MaxBody == 0 {
		o.MaxBody = 64 << 10
	}
	if o.IdlePerHost == 0 {
		o.IdlePerHost = 8
	}
	c := &Client{o: o}
	c.dialer = &net.Dialer{Timeout: o.DialTimeout, KeepAlive: 30 * time.Second, Resolver: o.Resolver,
		ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
			return c.control(network, address)
		}}
	c.transport = &http.Transport{
		DialContext: c.dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: o.DialTimeout,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs},
		MaxIdleConns:    512, MaxIdleConnsPerHost: o.IdlePerHost, IdleConnTimeout: 60 * time.Second,
		MaxResponseHeaderBytes: 32 << 10, ExpectContinueTimeout: time.Second,
	}
	return c
}

// Close ends the connections that nobody uses.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// control runs between socket and connect, on the address that is dialled.
func (c *Client) control(network, address string) error {
	switch network {
	case "tcp4", "tcp6":
	default:
		return &AddressError{Why: "only TCP is allowed"}
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return &AddressError{Why: "not an address"}
	}
	return c.CheckAddr(to.Addr())
}

// CheckAddr says whether an address may be dialled; the error is an *AddressError.
func (c *Client) CheckAddr(a netip.Addr) error {
	plain := a.Unmap().WithZone("")
	for _, p := range c.o.Allow {
		if p.Contains(plain) {
			return nil
		}
	}
	if why := refused(a); why != "" {
		return &AddressError{Addr: a, Why: why}
	}
	return nil
}

// AddressError says that an address may not be dialled.
type AddressError struct {
	Addr netip.Addr
	Why  string
}

func (e *AddressError) Error() string {
	return fmt.Sprintf("%s: %s (the operator may allow its network by callback-allow)", e.Addr, e.Why)
}

// CheckURL says what can be known of an address without asking for it: scheme, host, an address in digits that may not be
// dialled. Names are judged when they are dialled.
func (c *Client) CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return errors.New("an address beginning with http:// or https:// was expected")
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		return c.CheckAddr(a)
	}
	return nil
}

// Response is an answer that was read.
type Response struct {
	Status int
	Header http.Header
	Body   []byte // at most MaxBody bytes
	More   bool   // the body was longer
}

// ErrRedirect says that the server sent us elsewhere.
var ErrRedirect = errors.New("redirected: redirects are not followed")

// Do sends a request and reads the answer within Timeout (and the request's context). An answer that redirects is returned with
// ErrRedirect. Errors hold no path, query or body.
func (c *Client) Do(r *http.Request) (*Response, error) {
	ctx, cancel := context.WithTimeoutCause(r.Context(), c.o.Timeout, errTimeout)
	defer cancel()
	res, err := c.transport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, plain(ctx, err)
	}
	defer res.Body.Close()
	out := &Response{Status: res.StatusCode, Header: res.Header}
	body, err := io.ReadAll(io.LimitReader(res.Body, c.o.MaxBody+1))
	if int64(len(body)) > c.o.MaxBody {
		body, out.More = body[:c.o.MaxBody], true
	}
	out.Body = body
	if err != nil {
		return out, plain(ctx, fmt.Errorf("reading the answer: %w", err))
	}
	if out.Status >= 300 && out.Status < 400 && out.Status != http.StatusNotModified {
		return out, ErrRedirect
	}
	return out, nil
}

var errTimeout = errors.New("no answer in time")

// plain takes the address out of an error.
func plain(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errTimeout) && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errTimeout)) {
		return errTimeout
	}
	var refused *AddressError
	if errors.As(err, &refused) {
		return refused
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Transport is the guarded transport by itself, for answers that are read as they come: give it to an http.Client whose CheckRedirect
// is NoRedirect, or call RoundTrip. The body is the caller's to bound.
func (c *Client) Transport() http.RoundTripper { return c.transport }

// NoRedirect is an http.Client's CheckRedirect that follows none.
func NoRedirect(*http.Request, []*http.Request) error { return ErrRedirect }

// DialContext dials guarded, for protocols that begin as HTTP and go on otherwise.
func (c *Client) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return c.dialer.DialContext(ctx, network, address)
}
