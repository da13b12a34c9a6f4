package api

import (
	"fmt"
	"time"

	"waihu"
)

func (s *server) suppressionRoutes() []route {
	const path = Prefix + "suppressions"
	return []route{
		{"GET", path, s.listSuppressions, false, operation{ID: "listSuppressions", Tag: "suppressions", Summary: "The numbers that the account must never call",
			Text:  "In the order of the numbers. One that was erased is never called either, but no longer known here.",
			Query: []param{{"after", "string", "continue behind this number"}, {"limit", "integer", "at most so many, 1 to 1000; default 100"}}, Answer: suppressionPage{}}},
		{"POST", path, s.suppress, false, operation{ID: "suppress", Tag: "suppressions", Summary: "Never call these numbers again",
			Text: "It counts from the next number that any task of the account takes up; a call in progress goes on. A number suppressed already keeps its first reason.", Body: newSuppressions{}}},
		{"POST", path + "/remove", s.unsuppress, false, operation{ID: "unsuppress", Tag: "suppressions", Summary: "Let a number be called again", Body: oldSuppression{}}},
	}
}

type newSuppressions struct {
	Phones []string `json:"phones" doc:"1 to 1000 numbers, however they are written"`
	Reason string   `json:"reason,omitempty" doc:"at most 100 letters; default api"`
}

// oldSuppression names its number in the body: paths stand in logs of proxies.
type oldSuppression struct {
	Phone string `json:"phone"`
}

type suppression struct {
	Phone  waihu.PhoneNumber `json:"phone"`
	Since  time.Time         `json:"since"`
	Reason string            `json:"reason"`
	Call   string            `json:"call,omitempty" doc:"in which the callee asked for it"`
}

type suppressionPage struct {
	Suppressions []suppression `json:"suppressions"`
	More         bool          `json:"more"`
}

const (
	maxSuppressed = 1000
	maxReason     = 100
)

func (s *server) listSuppressions(c *request) (any, error) {
	limit, err := c.number("limit", 100, 1, 1000)
	if err != nil {
		return nil, err
	}
	list, err := s.Store.Suppressed(c.ctx, c.acts.ID, waihu.PhoneNumber(c.r.URL.Query().Get("after")), int(limit)+1)
	if err != nil {
		return nil, err
	}
	out := suppressionPage{Suppressions: []suppression{}}
	if len(list) > int(limit) {
		list, out.More = list[:limit], true
	}
	for _, x := range list {
		one := suppression{Phone: x.Phone, Since: x.Since.UTC(), Reason: x.Reason}
		if x.Call != 0 {
			one.Call = x.Call.String()
		}
		out.Suppressions = append(out.Suppressions, one)
	}
	return out, nil
}

func (s *server) suppress(c *request) (any, error) {
	var in newSuppressions
	if err := c.read(&in); err != nil {
		return nil, err
	}
	if len(in.Phones) == 0 || len(in.Phones) > maxSuppressed {
		return nil, waihu.FieldErrorf("phones", "1 to %d numbers were expected, not %d", maxSuppressed, len(in.Phones))
	}
	if len([]rune(in.Reason)) > maxReason {
		return nil, waihu.FieldErrorf("reason", "at most %d letters were expected", maxReason)
	}
	if in.Reason == "" {
		in.Reason = "api"
	}
	phones := make([]waihu.PhoneNumber, len(in.Phones))
	for i, text := range in.Phones {
		var err error
		if phones[i], err = waihu.ParsePhone(text); err != nil {
			return nil, waihu.FieldErrorf(fmt.Sprintf("phones[%d]", i), "%v", err)
		}
	}
	return nil, s.Store.SuppressAll(c.ctx, c.acts.ID, phones, in.Reason)
}

func (s *server) unsuppress(c *request) (any, error) {
	var in oldSuppression
	if err := c.read(&in); err != nil {
		return nil, err
	}
	phone, err := waihu.ParsePhone(in.Phone)
	if err != nil {
		return nil, waihu.FieldErrorf("phone", "%v", err)
	}
	return nil, s.Store.Unsuppress(c.ctx, c.acts.ID, phone)
}
