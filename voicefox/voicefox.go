// Package voicefox is the door for clients of VoiceFox's (声狐) open API: the vendor's routes, bodies and webhook payloads
// over HTTP, translated once into the root package's words. No vendor word leaves the package.
//
// Task detail, call log, call trace, assistant detail and three webhook payloads are the vendor's; everything else under
// /openapi is our extension in the same shapes, because no page of the vendor documents it. What is which, and what is our
// own choice, stands per endpoint in docs/voicefox-compatibility.md, which a test holds against the route table. The
// points that the vendor's pages leave open are functions and settings in policy.go, one name each.
//
// The handler may be called by any number of goroutines; it keeps nothing between requests but its options and how
// often each token has asked lately. It starts nothing in the background. A success is the bare object; every error, a
// panic's too, is {"code": HTTP status, "message": text} and changes nothing. Bodies are bounded, so a slow or hostile
// client costs one goroutine and at most maxBody of memory (a file of numbers is put aside on the disk and read in portions).
//
// Who asks is known by a bearer token. It reaches its own account alone, which is the vendor's workspace (项目).
//
// To test against it, open a store on t.TempDir(), apply resources and serve New(...) with httptest: it needs nothing else.
package voicefox

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"waihu"
	"waihu/store"
)

// Door is the name under which tasks, agents and tokens keep what is this door's alone.
const Door = "voicefox"

// Options join this room with the rest. Store is required.
type Options struct {
	Store *store.Store
	// Preflight says what stands against a start; nil: nothing is checked beyond the ledger.
	Preflight waihu.Preflight
	// Check says what is wrong with an assistant before it is kept; nil: nothing is checked beyond its shape.
	Check func(*waihu.AgentSpec) []waihu.Problem
	// Recordings opens recordings; nil: there are none.
	Recordings waihu.OpenRecording
	Log        *slog.Logger     // default: discard
	Now        func() time.Time // default time.Now
	// PerSecond is how many requests a second one token may make; 0: no limit. Who makes more is answered 429 with Retry-After.
	PerSecond int
	// Public is the address of this server as a customer reaches it, such as https://calls.example.com: addresses in
	// webhooks begin with it. Those in answers begin with the name under which the request came.
	Public string
	// CheckURL says what is wrong with a webhook's address; nil: nothing is checked until it is called.
	CheckURL func(string) error
	// RetryUnit is the unit of option.retryInterval, which the vendor's page does not state. Default: a minute.
	RetryUnit time.Duration
}

type server struct {
	Options
	mux   *http.ServeMux
	limit waihu.Limiter
}

// New serves every route of the package. Whatever else it is asked for is answered 404 or 405.
func New(o Options) http.Handler {
	s := newServer(o)
	for _, r := range s.routes() {
		s.mux.Handle(r.method+" "+r.path, s.serve(r.handle, r.open))
	}
	s.mux.HandleFunc("/", s.nothing)
	return http.HandlerFunc(s.tidy)
}

func newServer(o Options) *server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Preflight == nil {
		o.Preflight = func(context.Context, waihu.Task) []waihu.Problem { return nil }
	}
	if o.Check == nil {
		o.Check = func(*waihu.AgentSpec) []waihu.Problem { return nil }
	}
	if o.CheckURL == nil {
		o.CheckURL = func(string) error { return nil }
	}
	if o.RetryUnit <= 0 {
		o.RetryUnit = time.Minute
	}
	return &server{Options: o, mux: http.NewServeMux(), limit: waihu.Limiter{PerSecond: o.PerSecond}}
}

// prefix begins the path of every route.
const prefix = "/openapi/"

// Owns says whether a request's path is one of this door's, doubled slashes aside.
func Owns(p string) bool { return strings.HasPrefix(path.Clean("/"+p)+"/", prefix) }

// tidy takes the slashes out that a base address too many leaves in a path: the mux would answer them with a redirect that
// many clients do not follow with their body.
func (s *server) tidy(w http.ResponseWriter, r *http.Request) {
	escaped := r.URL.EscapedPath()
	clean := path.Clean("/" + escaped)
	if clean == escaped {
		s.mux.ServeHTTP(w, r)
		return
	}
	plain, err := url.PathUnescape(clean)
	if err != nil || strings.Contains(escaped, "/.") {
		s.fail(w, r, refused(http.StatusNotFound, "no such path"))
		return
	}
	tidied := r.Clone(r.Context())
	tidied.URL.Path, tidied.URL.RawPath = plain, clean
	s.mux.ServeHTTP(w, tidied)
}

// nothing answers what no route takes: a wrong method on a known path is said to be one.
func (s *server) nothing(w http.ResponseWriter, r *http.Request) {
	var allow []string
	for _, m := range []string{"GET", "POST", "PUT", "DELETE"} {
		other := r.Clone(r.Context())
		other.Method = m
		if _, pattern := s.mux.Handler(other); pattern != "/" && pattern != "" {
			allow = append(allow, m)
		}
	}
	if len(allow) > 0 && !slices.Contains(allow, r.Method) {
		w.Header().Set("Allow", strings.Join(allow, ", "))
		s.fail(w, r, refused(http.StatusMethodNotAllowed, "this path takes %s", strings.Join(allow, ", ")))
		return
	}
	s.fail(w, r, refused(http.StatusNotFound, "no such path"))
}
