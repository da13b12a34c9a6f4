package voicefox

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"waihu"
	"waihu/store"
)

// webhookWire is an endpoint of this door. Its secrets are never shown.
type webhookWire struct {
	ID               int64    `json:"id"`
	URL              string   `json:"url"`
	Events           []string `json:"events"`
	TaskID           int64    `json:"taskId"` // only this task's events; 0: all
	HasAuthorization bool     `json:"hasAuthorization"`
	HasSecret        bool     `json:"hasSecret"`
	Remark           string   `json:"remark"`
	CreatedAt        string   `json:"createdAt"`
	UpdatedAt        string   `json:"updatedAt"`
}

// webhookBody is what the console's webhook page asks for, as JSON.
type webhookBody struct {
	URL           string   `json:"url"`
	Events        []string `json:"events"`        // default: all
	TaskID        number   `json:"taskId"`        // 0: of every task
	Authorization string   `json:"authorization"` // sent as the header of that name
	Secret        string   `json:"secret"`        // signs the bodies as standard-webhooks does; "": unsigned
	Remark        string   `json:"remark"`
}

// kindsOf are the events of ours behind the vendor's names.
func kindsOf(events []string) (kinds []waihu.EventKind, err error) {
	names := slices.Sorted(maps.Keys(eventKinds))
	if len(events) == 0 {
		events = names
	}
	for _, name := range events {
		kind, ok := eventKinds[name]
		if !ok {
			return nil, wrong("events", "%.60q is not one of %s", name, strings.Join(names, ", "))
		}
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds, nil
}

func (c *request) webhookShown(e *store.EndpointState) (webhookWire, error) {
	w := webhookWire{ID: e.ID, URL: e.URL, Events: []string{}, HasAuthorization: e.HasAuthorization, HasSecret: e.HasSecret, Remark: e.Remark,
		CreatedAt: stamp(e.CreatedAt, c.loc), UpdatedAt: stamp(e.UpdatedAt, c.loc)}
	for _, name := range slices.Sorted(maps.Keys(eventKinds)) {
		if len(e.Kinds) == 0 || slices.Contains(e.Kinds, eventKinds[name]) {
			w.Events = append(w.Events, name)
		}
	}
	if e.Task == "" {
		return w, nil
	}
	t, err := c.s.Store.Task(c.ctx, c.account.ID, e.Task)
	if err != nil && waihu.ErrorCode(err) != waihu.ENotFound { // deleted since
		return w, err
	}
	w.TaskID = t.Serial
	return w, nil
}

// webhookList lists the endpoints of this door; those of others are not shown.
func (s *server) webhookList(c *request) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	all, err := s.Store.Endpoints(c.ctx, c.account.ID)
	if err != nil {
		return nil, err
	}
	items := []webhookWire{}
	for i := range all {
		if all[i].Door != Door {
			continue
		}
		w, err := c.webhookShown(&all[i])
		if err != nil {
			return nil, err
		}
		items = append(items, w)
	}
	p.Items, p.Total = cut(items, p), len(items)
	return p, nil
}

func (s *server) webhookCreate(c *request) (any, error) {
	var b webhookBody
	if err := c.read(&b); err != nil {
		return nil, err
	}
	if err := s.CheckURL(b.URL); err != nil {
		return nil, wrong("url", "%v", err)
	}
	kinds, err := kindsOf(b.Events)
	if err != nil {
		return nil, err
	}
	e := waihu.Endpoint{Account: c.account.ID, Door: Door, URL: b.URL, Kinds: kinds, Authorization: b.Authorization, Secret: b.Secret, Remark: b.Remark}
	if b.TaskID != 0 {
		t, err := s.Store.TaskBySerial(c.ctx, c.account.ID, int64(b.TaskID))
		if waihu.ErrorCode(err) == waihu.ENotFound {
			return nil, wrong("taskId", "there is no such task in this workspace")
		}
		if err != nil {
			return nil, err
		}
		e.Task = t.ID
	}
	if err := s.Store.AddEndpoint(c.ctx, &e, 0); err != nil {
		return nil, err
	}
	state, err := s.Store.Endpoint(c.ctx, c.account.ID, e.ID)
	if err != nil {
		return nil, err
	}
	return c.webhookShown(&state)
}

func (s *server) webhookDelete(c *request) (any, error) {
	id, err := c.pathID("id")
	if err != nil {
		return nil, err
	}
	e, err := s.Store.Endpoint(c.ctx, c.account.ID, id)
	if err == nil && e.Door != Door {
		err = refused(http.StatusNotFound, "no such webhook")
	}
	if err != nil {
		return nil, err
	}
	return removed{id}, s.Store.RemoveEndpoint(c.ctx, c.account.ID, id)
}
