// Package yunfu is the door for clients of 云蝠's agent-api: the vendor's routes, bodies,
// messages and error codes over HTTP, translated once into the root package's words.
// No vendor word leaves the package.
//
// What is exact, what is tolerant and what is our own choice stands per endpoint in
// docs/yunfu-compatibility.md, which a test holds against the route table.
//
// The handler may be called by any number of goroutines; it keeps nothing between
// requests but its options and how often each token has asked lately. It starts nothing in the background. Every answer, a panic's
// too, is the vendor's envelope {code, status, message, data, meta}; an error changes
// nothing. Bodies are bounded, so a slow or hostile client costs one goroutine and at most
// maxBody of memory; the server's own timeouts end it. What goes on after an answer is a job in the ledger, which
// the handlers of Jobs work.
//
// Who asks is known by a bearer token. It reaches its own account and that account's
// sub-accounts; everything else looks as if it did not exist.
//
// To test against it, open a store on t.TempDir(), apply resources and serve New(...)
// with httptest: it needs nothing else.
package yunfu

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"waihu"
	"waihu/store"
)

// Door is the name under which accounts, tasks, agents and tokens keep what is this door's alone.
const Door = "yunfu"

// Options join this room with the rest. Store is required.
type Options struct {
	Store *store.Store
	// Preflight says what stands against a start; nil: nothing is checked beyond the ledger.
	Preflight waihu.Preflight
	// Recordings opens recordings; nil: there are none.
	Recordings waihu.OpenRecording
	Log        *slog.Logger     // default: discard
	Now        func() time.Time // default time.Now
	// BusyStatus is the HTTP status that carries error 6007, which the vendor's pages do not
	// state. Default 200: a client that throws on other statuses still sees the documented body.
	BusyStatus int
	// RefuseImportWhileStarted answers 6007 to an import into a started task, as an older copy
	// of the vendor's page asks. The newer pages allow it, and so does the default.
	RefuseImportWhileStarted bool
	// NoStopTime lets 2.0 tasks be sent without stop_time, which the vendor's table wants and the comments of its samples
	// do not: such a task has no end.
	NoStopTime bool
	// PerSecond is how many requests a second one token may make; 0: no limit. Who makes more is answered 429
	// with Retry-After.
	PerSecond int
	// Milliseconds gives the durations of call records in milliseconds; the vendor's callbacks, and so the default, in seconds.
	Milliseconds bool
	// Public is the address of this server as a customer reaches it, such as https://calls.example.com: addresses in
	// callbacks begin with it. Those in answers begin with the name under which the request came.
	Public string
	// SignIn gives a path under which the console is entered as an account, and until when; nil: there is no console.
	SignIn func(ctx context.Context, account waihu.AccountID) (path string, until time.Time, err error)
	// Wake tells whoever works the jobs that there are new ones; nil: they are found in time.
	Wake func()
}

type server struct {
	Options
	mux   *http.ServeMux
	limit waihu.Limiter
}

// New serves every route of the package on the paths they are documented with.
// Whatever else it is asked for is answered with the envelope's 404.
func New(o Options) http.Handler {
	s := newServer(o)
	for open, list := range map[bool][]route{false: s.routes(), true: s.openRoutes()} {
		for _, r := range list {
			for _, m := range r.methods {
				s.mux.Handle(m+" "+r.path, s.serve(r.handle, open))
			}
		}
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
	if o.BusyStatus == 0 {
		o.BusyStatus = http.StatusOK
	}
	if o.Wake == nil {
		o.Wake = func() {}
	}
	return &server{Options: o, mux: http.NewServeMux(), limit: waihu.Limiter{PerSecond: o.PerSecond}}
}

// wholeCipher escapes the slashes of an encrypted phone at the end of a path. It is base64, so that clients that build
// the address from texts send two of five phones with a slash in them. A phone's ciphertext ends with padding.
func wholeCipher(escaped string) string {
	const before = "/number/detail/"
	head, phone, found := strings.Cut(escaped, before)
	if !found || !strings.HasSuffix(phone, "=") && !strings.HasSuffix(phone, "%3D") {
		return escaped
	}
	return head + before + strings.ReplaceAll(phone, "/", "%2F")
}

// tidy takes the slashes out that a base address too many leaves in a path. The mux would answer them with a
// redirect that many clients do not follow with their body, and dot segments with a page that is no envelope.
func (s *server) tidy(w http.ResponseWriter, r *http.Request) {
	escaped := r.URL.EscapedPath()
	clean := path.Clean("/" + wholeCipher(escaped))
	if clean == escaped {
		s.mux.ServeHTTP(w, r)
		return
	}
	plain, err := url.PathUnescape(clean)
	if err != nil || strings.Contains(escaped, "/.") {
		s.fail(w, r, refused(http.StatusNotFound, "接口不存在"))
		return
	}
	tidied := r.Clone(r.Context())
	tidied.URL.Path, tidied.URL.RawPath = plain, clean
	s.mux.ServeHTTP(w, tidied)
}
