// Package api is the native HTTP API: JSON over bearer tokens, described by its own OpenAPI 3.1 document, which is made of the
// table of routes and so cannot differ from it.
//
// The handler may be called by any number of goroutines and keeps nothing between requests but how often each token has asked.
// Every answer that is an error is {"error":{"code","message","field","id"}}: codes are few (waihu.Code), the message is safe to
// show, the id stands beside the cause in the operator's log. A request with an error changes nothing. Unknown fields are refused.
//
// A token reaches its own account and, named by the query parameter account, that account's sub-accounts; everything else looks as
// if it did not exist.
//
// Shape is this door's shape of callbacks. To test against the package, open a store on t.TempDir() and serve New(...) with httptest.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"waihu"
	"waihu/store"
)

// Prefix begins every path of this door.
const Prefix = "/api/v1/"

// Scope is that of a token which is good for this door alone; one without scope is good for it too.
const Scope = "api"

// Options join this room with the rest. Store is required.
type Options struct {
	Store *store.Store
	Doors []string                   // whose shapes an endpoint may have; default the native one
	URL   func(address string) error // says what stands against an endpoint's address; nil: nothing
	Log   *slog.Logger               // default: discard
	Now   func() time.Time           // default time.Now
	// PerSecond is how many requests a second one token may make; 0: no limit.
	PerSecond int

	// Recordings opens recordings; nil: there are none. Remove removes the file of one whose number is erased; nil: a job does.
	Recordings waihu.OpenRecording
	Remove     func(context.Context, store.RecordingRow) error
	Compact    func() error // takes out of the journal of dialogs what it says of calls that are over, after an erasure; nil: there is none
	// What keeps numbers from being called now: the calling hours of a task at a moment and when they change next, the
	// state of lines, and why nothing is dialled at all. Nil: not looked at.
	Window   func(t *waihu.Task, at time.Time) (open bool, next time.Time)
	Lines    func() map[waihu.LineID]waihu.LineState
	NotReady func(context.Context) string
}

type server struct {
	Options
	mux   *http.ServeMux
	limit waihu.Limiter
	doc   []byte

	exports counter
}

// New serves every route below Prefix; whatever else it is asked for is a 404 in JSON.
func New(o Options) http.Handler {
	s := newServer(o)
	for _, r := range s.routes() {
		s.mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, q *http.Request) { s.serve(w, q, &r) })
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		for _, m := range []string{"GET", "POST", "PATCH", "PUT", "DELETE"} {
			probe := r.Clone(r.Context())
			probe.Method = m
			if _, pattern := s.mux.Handler(probe); pattern != "/" && m != r.Method {
				w.Header().Add("Allow", m)
			}
		}
		if w.Header().Get("Allow") != "" {
			s.write(w, http.StatusMethodNotAllowed, failure{waihu.EInvalid, "this path has no method " + r.Method, "", ""}.wrap())
			return
		}
		s.fail(w, r, waihu.Errorf(waihu.ENotFound, "there is no such path: see %sopenapi.json", Prefix))
	})
	return s.mux
}

func newServer(o Options) *server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(o.Doors) == 0 {
		o.Doors = []string{waihu.DoorNative}
	}
	if o.URL == nil {
		o.URL = func(string) error { return nil }
	}
	s := &server{Options: o, mux: http.NewServeMux(), limit: waihu.Limiter{PerSecond: o.PerSecond}}
	s.doc = document(s.routes())
	return s
}

// route is one line of the table; what it says of itself is the document.
type route struct {
	method, path string
	handle       func(*request) (any, error) // its answer is JSON; written: the handler has written it; nil: 204
	open         bool                        // without a token
	says         operation
}

// routes are all of them. Each file of handlers adds its own.
func (s *server) routes() []route {
	var list []route
	for _, some := range [][]route{s.documentRoutes(), s.eventRoutes(), s.endpointRoutes(), s.exportRoutes(), s.recordingRoutes(), s.funnelRoutes(), s.reviewRoutes()} {
		list = append(list, some...)
	}
	return append(list, s.suppressionRoutes()...)
}

// written is the answer of a handler that has written to the client itself.
var written = new(struct{})

// created is an answer with the status 201.
type created struct{ body any }

// request is one accepted request.
type request struct {
	s     *server
	w     http.ResponseWriter
	r     *http.Request
	ctx   context.Context
	token store.Token
	actor waihu.Account // whose token it is
	acts  waihu.Account // whose things are meant: actor, or its sub-account named by ?account=
}

func (s *server) serve(w http.ResponseWriter, r *http.Request, to *route) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
			panic(p)
		}
		s.fail(w, r, panicked(p))
	}()
	c := &request{s: s, w: w, r: r, ctx: r.Context()}
	if !to.open {
		if err := c.accept(); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	answer, err := to.handle(c)
	switch x := answer.(type) {
	case *struct{}:
		if err != nil { // the status is out already: cut the answer off, so that the client sees that it is not whole
			s.Log.Warn("an answer was cut off", "path", r.URL.Path, "err", err)
			panic(http.ErrAbortHandler)
		}
	case created:
		if err == nil {
			s.write(w, http.StatusCreated, x.body)
			return
		}
		s.fail(w, r, err)
	default:
		switch {
		case err != nil:
			s.fail(w, r, err)
		case answer == nil:
			w.WriteHeader(http.StatusNoContent)
		default:
			s.write(w, http.StatusOK, answer)
		}
	}
}

// accept says who asks and for whom. Nothing of a request is looked at before its token is known.
func (c *request) accept() error {
	scheme, secret, _ := strings.Cut(strings.TrimSpace(c.r.Header.Get("Authorization")), " ")
	if secret = strings.TrimSpace(secret); !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return waihu.Errorf(waihu.EUnauthorized, "the header Authorization: Bearer TOKEN is missing")
	}
	var err error
	if c.actor, c.token, err = c.s.Store.AccountByToken(c.ctx, secret); err != nil {
		return err
	}
	if c.token.Scope != "" && c.token.Scope != Scope {
		return waihu.Errorf(waihu.EUnauthorized, "the token is not known")
	}
	if wait := c.s.limit.Wait(c.token.ID, c.s.Now()); wait > 0 {
		c.w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		return waihu.Errorf(waihu.ELimit, "too many requests: at most %d a second", c.s.PerSecond)
	}
	if !utf8.ValidString(c.r.URL.Path) || strings.ContainsRune(c.r.URL.Path, 0) {
		return waihu.Errorf(waihu.ENotFound, "there is no such path")
	}
	for name, values := range c.r.URL.Query() {
		for _, v := range append(values, name) {
			if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
				return waihu.Errorf(waihu.EInvalid, "the query is not text")
			}
		}
	}
	c.acts, err = c.s.Store.Reach(c.ctx, c.actor.ID, waihu.AccountID(c.r.URL.Query().Get("account")))
	return err
}

// Bounds of a request's JSON and of the time that it may take to come.
const (
	maxBody     = 1 << 20
	readTimeout = 30 * time.Second
)

// read decodes the body into v: one JSON document without unknown fields.
func (c *request) read(v any) error {
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(readTimeout)) // a writer that knows no deadlines has no connection
	raw, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return waihu.Errorf(waihu.EInvalid, "the body is larger than %d bytes", large.Limit)
		}
		return waihu.Errorf(waihu.EInvalid, "the body could not be read")
	}
	if !utf8.Valid(raw) {
		return waihu.Errorf(waihu.EInvalid, "the body is not UTF-8")
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return waihu.FieldErrorf(kind.Field, "%s was expected, not a %s", kind.Type, kind.Value)
		}
		return waihu.Errorf(waihu.EInvalid, "the body is not the JSON that is expected: %v", err)
	}
	if dec.More() {
		return waihu.Errorf(waihu.EInvalid, "the body holds more than one JSON document")
	}
	if strings.Contains(string(raw), `\u0000`) {
		return waihu.Errorf(waihu.EInvalid, "the body holds the character U+0000, which no text may have")
	}
	return nil
}

// number reads a whole number of the query; def when it is absent.
func (c *request) number(name string, def, least, most int64) (int64, error) {
	text := c.r.URL.Query().Get(name)
	if text == "" {
		return def, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, waihu.FieldErrorf(name, "a whole number from %d to %d was expected", least, most)
	}
	return n, nil
}

// pathID is a number in the path; what is none does not exist.
func (c *request) pathID(name string) (int64, error) {
	n, err := strconv.ParseInt(c.r.PathValue(name), 10, 64)
	if err != nil || n <= 0 {
		return 0, waihu.Errorf(waihu.ENotFound, "no %s %s", name, c.r.PathValue(name))
	}
	return n, nil
}

// failure is the body of every error.
type failure struct {
	Code    waihu.Code `json:"code" doc:"invalid, unauthorized, forbidden, not_found, conflict, limit, unavailable or internal"`
	Message string     `json:"message"`
	Field   string     `json:"field,omitempty" doc:"path of the field that is wrong"`
	ID      string     `json:"id,omitempty" doc:"quote it to the operator: the cause stands beside it in the log"`
}

type errorBody struct {
	Error failure `json:"error"`
}

func (f failure) wrap() errorBody { return errorBody{f} }

var statuses = map[waihu.Code]int{waihu.EInvalid: 422, waihu.EUnauthorized: 401, waihu.EForbidden: 403, waihu.ENotFound: 404, waihu.EConflict: 409,
	waihu.ELimit: 429, waihu.EUnavailable: 503, waihu.EInternal: 500}

func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := failure{Code: waihu.ErrorCode(err), Message: "something failed on our side"}
	var e *waihu.Error
	if errors.As(err, &e) && f.Code != waihu.EInternal {
		f.Message, f.Field = e.Message, e.Field
	}
	switch {
	case r.Context().Err() != nil && f.Code == waihu.EInternal:
		f.Code, f.Message = waihu.EUnavailable, "the request was given up"
	case f.Code == waihu.EInternal:
		f.ID = uuid.NewString()
		s.Log.Error("a request failed", "id", f.ID, "method", r.Method, "pattern", r.Pattern, "err", err)
	case f.Code == waihu.EUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	s.write(w, statuses[f.Code], f.wrap())
}

func (s *server) write(w http.ResponseWriter, status int, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		s.Log.Error("an answer could not be encoded", "err", err)
		status, raw = http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"something failed on our side"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n')) // a client that left needs no answer
}
