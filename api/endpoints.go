package api

import (
	"crypto/rand"
	"math"
	"slices"
	"strings"
	"time"

	"waihu"
	"waihu/store"
)

func (s *server) endpointRoutes() []route {
	const path = Prefix + "endpoints"
	return []route{
		{"GET", path, s.listEndpoints, false, operation{ID: "listEndpoints", Tag: "callbacks", Summary: "The endpoints of the account and how far they are", Answer: endpointList{}}},
		{"POST", path, s.addEndpoint, false, operation{ID: "addEndpoint", Tag: "callbacks", Summary: "Tell an address what happens",
			Text: "A secret that was made here is in this answer and never shown again.", Body: newEndpoint{}, Answer: endpoint{}, Status: 201}},
		{"GET", path + "/{id}", s.oneEndpoint, false, operation{ID: "getEndpoint", Tag: "callbacks", Summary: "One endpoint and how far it is", Answer: endpoint{}}},
		{"PATCH", path + "/{id}", s.editEndpoint, false, operation{ID: "editEndpoint", Tag: "callbacks", Summary: "Change an endpoint",
			Text: "A field that is absent stays as it is; an empty authorization or secret ends it. A new address is tried at once, blocked or not.", Body: endpointEdit{}, Answer: endpoint{}}},
		{"DELETE", path + "/{id}", s.removeEndpoint, false, operation{ID: "removeEndpoint", Tag: "callbacks", Summary: "End an endpoint"}},
		{"POST", path + "/{id}/release", s.releaseEndpoint, false, operation{ID: "releaseEndpoint", Tag: "callbacks", Summary: "Try a blocked endpoint again at once", Answer: endpoint{}}},
		{"POST", path + "/{id}/replay", s.replayEndpoint, false, operation{ID: "replayEndpoint", Tag: "callbacks", Summary: "Deliver again",
			Text: "Either all events from a number on, or those that were given up.", Body: replay{}, Answer: endpoint{}}},
		{"GET", path + "/{id}/failed", s.failedDeliveries, false, operation{ID: "listFailed", Tag: "callbacks", Summary: "Events that were stepped over",
			Query: []param{{"of", "string", "continue behind this account"}, {"after", "integer", "and this event"}, {"limit", "integer", "at most so many, 1 to 1000; default 100"}}, Answer: failedPage{}}},
		{"GET", Prefix + "blackouts", s.blackouts, false, operation{ID: "listBlackouts", Tag: "callbacks", Summary: "When the circuit breaker blocked endpoints, the latest first", Answer: blackoutList{}}},
	}
}

type newEndpoint struct {
	URL           string            `json:"url" doc:"http:// or https://"`
	Door          string            `json:"door,omitempty" doc:"whose shape the bodies have: native (default), yunfu, voicefox, keyue"`
	Task          waihu.TaskID      `json:"task,omitempty" doc:"only this task's events"`
	Kinds         []waihu.EventKind `json:"kinds,omitempty" doc:"only these kinds; default all that the door knows"`
	Authorization string            `json:"authorization,omitempty" doc:"sent as the header of that name"`
	Secret        *string           `json:"secret,omitempty" doc:"signs the bodies: whsec_ and base64 of 24 to 64 bytes; absent: one is made for the native door, none for others; empty: unsigned"`
	Remark        string            `json:"remark,omitempty"`
	From          int64             `json:"from,omitempty" doc:"number of the first event that is wanted; default what happens from now on"`
}

type endpointEdit struct {
	URL           *string            `json:"url,omitempty"`
	Task          *waihu.TaskID      `json:"task,omitempty"`
	Kinds         *[]waihu.EventKind `json:"kinds,omitempty"`
	Authorization *string            `json:"authorization,omitempty"`
	Secret        *string            `json:"secret,omitempty"`
	Remark        *string            `json:"remark,omitempty"`
}

type replay struct {
	From   int64           `json:"from,omitempty" doc:"all events from this number on"`
	Of     waihu.AccountID `json:"of,omitempty" doc:"the sub-account whose events are meant; default the endpoint's account"`
	Failed bool            `json:"failed,omitempty" doc:"those that were given up"`
}

type endpoint struct {
	ID               int64             `json:"id"`
	Door             string            `json:"door"`
	URL              string            `json:"url"`
	Task             waihu.TaskID      `json:"task,omitempty"`
	Kinds            []waihu.EventKind `json:"kinds"`
	Remark           string            `json:"remark,omitempty"`
	HasAuthorization bool              `json:"has_authorization"`
	HasSecret        bool              `json:"has_secret"`
	Secret           string            `json:"secret,omitempty" doc:"only in the answer to the request that made it"`
	State            string            `json:"state" doc:"ok, failing (the last delivery failed) or blocked"`
	BlockedUntil     *time.Time        `json:"blocked_until,omitempty"`
	LastOK           *time.Time        `json:"last_ok,omitempty"`
	LastErrorAt      *time.Time        `json:"last_error_at,omitempty"`
	LastError        string            `json:"last_error,omitempty"`
	Sent             int64             `json:"sent" doc:"events delivered"`
	Lag              int64             `json:"lag" doc:"events that lie before the cursors, those of other tasks and kinds included"`
	Waiting          int64             `json:"waiting" doc:"events that were stepped over and are tried again"`
	Failed           int64             `json:"failed" doc:"events that were given up"`
	Cursors          []cursor          `json:"cursors"`
	CreatedAt        time.Time         `json:"created_at"`
	UpdatedAt        time.Time         `json:"updated_at"`
}

type cursor struct {
	Account waihu.AccountID `json:"account"`
	Next    int64           `json:"next" doc:"the first event that is not settled"`
	Last    int64           `json:"last" doc:"the account's latest event"`
}

type endpointList struct {
	Endpoints []endpoint `json:"endpoints"`
}

func toEndpoint(e *store.EndpointState) endpoint {
	out := endpoint{ID: e.ID, Door: e.Door, URL: e.URL, Task: e.Task, Kinds: append([]waihu.EventKind{}, e.Kinds...), Remark: e.Remark, HasAuthorization: e.HasAuthorization,
		HasSecret: e.HasSecret, State: "ok", BlockedUntil: when(e.BlockedUntil), LastOK: when(e.LastOK), LastErrorAt: when(e.LastErrorAt), LastError: e.LastError,
		Sent: e.Sent, Lag: e.Lag(), Waiting: e.Waiting, Failed: e.Failed, Cursors: []cursor{}, CreatedAt: e.CreatedAt.UTC(), UpdatedAt: e.UpdatedAt.UTC()}
	switch {
	case !e.BlockedUntil.IsZero():
		out.State = "blocked"
	case e.LastErrorAt.After(e.LastOK):
		out.State = "failing"
	}
	for _, c := range e.Cursors {
		out.Cursors = append(out.Cursors, cursor{c.Account, c.Next, c.Head})
	}
	return out
}

// when is nil for the zero time, which JSON has no word for.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (s *server) listEndpoints(c *request) (any, error) {
	list, err := s.Store.Endpoints(c.ctx, c.acts.ID)
	if err != nil {
		return nil, err
	}
	out := endpointList{Endpoints: make([]endpoint, len(list))}
	for i := range list {
		out.Endpoints[i] = toEndpoint(&list[i])
	}
	return out, nil
}

func (s *server) oneEndpoint(c *request) (any, error) {
	id, err := c.pathID("id")
	if err != nil {
		return nil, err
	}
	e, err := s.Store.Endpoint(c.ctx, c.acts.ID, id)
	if err != nil {
		return nil, err
	}
	return toEndpoint(&e), nil
}

func (s *server) checkURL(url string) error {
	if err := s.URL(url); err != nil {
		return waihu.FieldErrorf("url", "%v", err)
	}
	return nil
}

func (s *server) addEndpoint(c *request) (any, error) {
	var in newEndpoint
	if err := c.read(&in); err != nil {
		return nil, err
	}
	if in.Door == "" {
		in.Door = waihu.DoorNative
	}
	if !slices.Contains(s.Doors, in.Door) {
		return nil, waihu.FieldErrorf("door", "%q is not a door: %s was expected", in.Door, strings.Join(s.Doors, ", "))
	}
	if err := s.checkURL(in.URL); err != nil {
		return nil, err
	}
	e := waihu.Endpoint{Account: c.acts.ID, Door: in.Door, URL: in.URL, Task: in.Task, Kinds: in.Kinds, Authorization: in.Authorization, Remark: in.Remark}
	fresh := ""
	switch {
	case in.Secret != nil:
		e.Secret = *in.Secret
	case in.Door == waihu.DoorNative:
		key := make([]byte, 32)
		rand.Read(key) // never fails
		fresh = waihu.WebhookSecret(key)
		e.Secret = fresh
	}
	if err := s.Store.AddEndpoint(c.ctx, &e, in.From); err != nil {
		return nil, err
	}
	st, err := s.Store.Endpoint(c.ctx, c.acts.ID, e.ID)
	if err != nil {
		return nil, err
	}
	out := toEndpoint(&st)
	out.Secret = fresh
	return created{out}, nil
}

func (s *server) editEndpoint(c *request) (any, error) {
	var in endpointEdit
	if err := c.read(&in); err != nil {
		return nil, err
	}
	if in.URL != nil {
		if err := s.checkURL(*in.URL); err != nil {
			return nil, err
		}
	}
	return s.changed(c, func(id int64) error {
		return s.Store.UpdateEndpoint(c.ctx, c.acts.ID, id, store.EndpointEdit(in))
	})
}

// changed does something to the endpoint of the path and answers with what it is then.
func (s *server) changed(c *request, f func(id int64) error) (any, error) {
	id, err := c.pathID("id")
	if err == nil {
		err = f(id)
	}
	if err != nil {
		return nil, err
	}
	return s.oneEndpoint(c)
}

func (s *server) removeEndpoint(c *request) (any, error) {
	id, err := c.pathID("id")
	if err != nil {
		return nil, err
	}
	return nil, s.Store.RemoveEndpoint(c.ctx, c.acts.ID, id)
}

func (s *server) releaseEndpoint(c *request) (any, error) {
	return s.changed(c, func(id int64) error { return s.Store.ReleaseEndpoint(c.ctx, c.acts.ID, id) })
}

func (s *server) replayEndpoint(c *request) (any, error) {
	var in replay
	if err := c.read(&in); err != nil {
		return nil, err
	}
	return s.changed(c, func(id int64) error {
		switch {
		case in.Failed == (in.From != 0):
			return waihu.Errorf(waihu.EInvalid, "either from, the number of the first event, or failed: true was expected")
		case in.Failed:
			return s.Store.RetryDeliveries(c.ctx, c.acts.ID, id)
		}
		return s.Store.ReplayEndpoint(c.ctx, c.acts.ID, id, in.Of, in.From)
	})
}

type failedPage struct {
	Failed []failedDelivery `json:"failed"`
}

type failedDelivery struct {
	Account   waihu.AccountID `json:"account" doc:"whose event"`
	N         int64           `json:"n"`
	GivenUp   bool            `json:"given_up" doc:"false: it is tried again by itself"`
	Tries     int             `json:"tries"`
	Error     string          `json:"error"`
	CreatedAt time.Time       `json:"created_at"`
	UpdatedAt time.Time       `json:"updated_at"`
}

func (s *server) failedDeliveries(c *request) (any, error) {
	id, err := c.pathID("id")
	if err != nil {
		return nil, err
	}
	after, err := c.number("after", 0, 0, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	limit, err := c.number("limit", 100, 1, 1000)
	if err != nil {
		return nil, err
	}
	list, err := s.Store.FailedDeliveries(c.ctx, c.acts.ID, id, waihu.AccountID(c.r.URL.Query().Get("of")), after, int(limit))
	if err != nil {
		return nil, err
	}
	page := failedPage{Failed: make([]failedDelivery, len(list))}
	for i, d := range list {
		d.CreatedAt, d.UpdatedAt = d.CreatedAt.UTC(), d.UpdatedAt.UTC()
		page.Failed[i] = failedDelivery(d)
	}
	return page, nil
}

type blackoutList struct {
	Blackouts []blackout `json:"blackouts"`
}

type blackout struct {
	ID        int64           `json:"id"`
	Endpoint  int64           `json:"endpoint"`
	Account   waihu.AccountID `json:"account"`
	URL       string          `json:"url"`
	Since     time.Time       `json:"since"`
	ReleaseAt time.Time       `json:"release_at" doc:"when it ends or ended"`
	Released  bool            `json:"released"`
}

func (s *server) blackouts(c *request) (any, error) {
	list, err := s.Store.Blackouts(c.ctx, c.acts.ID)
	if err != nil {
		return nil, err
	}
	out := blackoutList{Blackouts: make([]blackout, len(list))}
	for i, b := range list {
		out.Blackouts[i] = blackout{b.ID, b.Endpoint, b.Account, b.URL, b.Since.UTC(), b.ReleaseAt.UTC(), b.Released}
	}
	return out, nil
}
