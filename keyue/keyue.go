// Package keyue is the door for clients of Baidu's 客悦 (Keyue): the agent open API under /open/v1, and beside it the
// AIOB outbound family (files aiob_*), which the same customers hold. The vendor's routes, bodies, messages and codes
// are translated once into the root package's words; no vendor word leaves the package.
//
// What is exact, what is tolerant and what is our own choice stands per endpoint in docs/keyue-compatibility.md, which
// a test holds against the route table.
//
// The handler may be called by any number of goroutines and keeps nothing between requests but how often each token has
// asked lately. Every answer of the agent API, a panic's too, is the vendor's: {time, data, code, msg} or, for a failure,
// {code, msg, tip, requestId}; a failure changes nothing. Bodies are bounded, so a slow or hostile client costs one
// goroutine and at most twice maxUpload of memory.
// What the vendor does asynchronously (copy, publish, document import) is a row and a job of the ledger, written in the
// commit before the answer and worked by the handlers of Jobs: it survives whatever dies, and happens once.
//
// Who asks is known by three headers which must belong together: token, uid and username. They reach the agents that
// the token's account may use, its own and its main account's; everything else looks as if it did not exist.
//
// To test against it, open a store on t.TempDir(), make an account with a token of scope Door, serve New(...) with
// httptest and run Jobs in a queue.
package keyue

import (
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"waihu"
	"waihu/store"
)

// Door is the name under which accounts, agents and tokens keep what is this door's alone.
const Door = "keyue"

// Options join this room with the rest. Store is required.
type Options struct {
	Store *store.Store
	// Preflight says what stands against a start; nil: nothing is checked beyond the ledger.
	Preflight waihu.Preflight
	// Recordings opens recordings; nil: there are none.
	Recordings waihu.OpenRecording
	// CheckURL says what stands against an address for callbacks; nil: nothing.
	CheckURL func(string) error
	// Check says what is wrong with an agent; it must hold before one is made here or goes online. nil: nothing is checked.
	Check func(*waihu.AgentSpec) []waihu.Problem
	Log   *slog.Logger     // default: discard
	Now   func() time.Time // default time.Now
	// Wake tells whoever works the jobs that there are new ones; nil: they are found in time.
	Wake func()
	// PerSecond is how many requests a second one token may make; 0: no limit. Who makes more is answered 429 with
	// Retry-After.
	PerSecond int
	// ErrorStatus is the HTTP status of a refused request, which the vendor's pages do not state. Default 400, as in the
	// vendor's sister product; 200 is for clients that throw on other statuses. Who is not known gets 401 and our own
	// faults 5xx whatever stands here.
	ErrorStatus int
	// PrintedTaskURL gives every asynchronous task the one taskUrl that the vendor's pages print,
	// /api/v2/llm/document/import. By default each kind has its own, so that queryLevel 0 can tell them apart.
	PrintedTaskURL bool
	// TaskStatus is the taskStatus of an asynchronous task that waits, is being worked, is done, has failed. The vendor's
	// scale is on no page that could be read. Default DefaultTaskStatus.
	TaskStatus [4]int
}

func (o Options) orDefault() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Wake == nil {
		o.Wake = func() {}
	}
	if o.CheckURL == nil {
		o.CheckURL = func(string) error { return nil }
	}
	if o.Check == nil {
		o.Check = func(*waihu.AgentSpec) []waihu.Problem { return nil }
	}
	if o.TaskStatus == [4]int{} {
		o.TaskStatus = DefaultTaskStatus
	}
	if o.ErrorStatus == 0 {
		o.ErrorStatus = http.StatusBadRequest
	}
	return o
}

type server struct {
	Options
	mux    *http.ServeMux
	limit  waihu.Limiter
	naming sync.Mutex // held while a task's name is looked for and taken
}

// New serves every route of the package on the paths they are documented with. Whatever else it is asked for is
// answered with the agent API's failure.
func New(o Options) http.Handler {
	s := &server{Options: o.orDefault(), mux: http.NewServeMux(), limit: waihu.Limiter{PerSecond: o.PerSecond}}
	for _, r := range append(s.routes(), s.aiobRoutes()...) {
		for _, m := range r.methods {
			s.mux.Handle(m+" "+r.path, r.handle)
		}
	}
	s.mux.HandleFunc("/", s.nothing)
	return http.HandlerFunc(s.tidy)
}

// Owns says whether a request's path is one of this door's, doubled slashes aside. What it owns and does not serve it
// answers as unknown.
func Owns(p string) bool {
	p = path.Clean("/" + p)
	for _, prefix := range prefixes {
		if strings.HasPrefix(p, prefix) {
			return true
		}
	}
	return paths()[p]
}

// tidy takes the slashes out that a base address too many leaves in a path. The mux would answer them with a redirect
// on which many clients drop their body.
func (s *server) tidy(w http.ResponseWriter, r *http.Request) {
	escaped := r.URL.EscapedPath()
	clean := path.Clean("/" + escaped)
	if clean == escaped {
		s.mux.ServeHTTP(w, r)
		return
	}
	plain, err := url.PathUnescape(clean)
	if err != nil || strings.Contains(escaped, "/.") {
		s.nothing(w, r)
		return
	}
	tidied := r.Clone(r.Context())
	tidied.URL.Path, tidied.URL.RawPath = plain, clean
	s.mux.ServeHTTP(w, tidied)
}
