package api

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"time"

	"waihu"
	"waihu/store"
)

func (s *server) recordingRoutes() []route {
	return []route{
		{"GET", Prefix + "calls/{call}/recording", s.recording, false, operation{ID: "getRecording", Tag: "recordings", Summary: "The sound of a call",
			Text: "WAV, with ranges. The ETag and Repr-Digest are the SHA-256 of the whole file, once it is known.", Media: "audio/wav"}},
		{"POST", Prefix + "calls/{call}/recording/link", s.recordingLink, false, operation{ID: "linkRecording", Tag: "recordings", Summary: "An address that plays without a token until it expires",
			Text: "It is signed: nothing is stored, and nobody can make or change one.", Body: linkOrder{}, Answer: link{}}},
		{"GET", Prefix + "recordings/{link}", s.linkedRecording, true, operation{ID: "playRecording", Tag: "recordings", Summary: "The sound that an address stands for", Media: "audio/wav"}},
		{"GET", Prefix + "retention", s.retention, false, operation{ID: "getRetention", Tag: "privacy", Summary: "How long the account keeps what calls leave", Answer: retention{}}},
		{"PUT", Prefix + "retention", s.setRetention, false, operation{ID: "setRetention", Tag: "privacy", Summary: "Say how long the account keeps what calls leave",
			Text: "Days after a call's end; 0 for ever. Sub-accounts without a setting of their own follow their main account.", Body: retention{}, Answer: retention{}}},
		{"POST", Prefix + "erasures", s.erase, false, operation{ID: "eraseNumber", Tag: "privacy", Summary: "Erase a phone number and all that is known of it",
			Text: "In every form in which it is written, in the account and its sub-accounts. What stays: that calls took place, with times and outcome; and of a suppressed number a keyed hash, by which it is never called. The answer comes when it is done.",
			Body: erasure{}, Answer: store.EraseReport{}}},
	}
}

// linkUse keeps the links of this door from serving another.
const linkUse = "api recording"

const (
	linkDay  = 24 * 60 * 60 // seconds
	linkMost = 7 * linkDay
)

type linkOrder struct {
	ExpiresIn int `json:"expires_in,omitempty" doc:"seconds, 1 to 604800; default a day"`
}

type link struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

// call is the call of the request with its recording.
func (c *request) call() (k waihu.Call, err error) {
	id, err := waihu.ParseCallID(c.r.PathValue("call"))
	if err != nil {
		return k, waihu.Errorf(waihu.ENotFound, "no such call")
	}
	k, err = c.s.Store.CallOf(c.ctx, c.acts.ID, id)
	if err == nil && (k.Outcome.Recording == "" || c.s.Recordings == nil) {
		err = waihu.Errorf(waihu.ENotFound, "the call has no recording")
	}
	return k, err
}

func (s *server) recording(c *request) (any, error) {
	k, err := c.call()
	if err != nil {
		return nil, err
	}
	return s.play(c, &k)
}

// play sends a recording, or the part of it that is asked for.
func (s *server) play(c *request, k *waihu.Call) (any, error) {
	file, err := s.Recordings(c.ctx, k)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	h := c.w.Header()
	h.Set("Content-Type", "audio/wav")
	h.Set("Content-Disposition", `attachment; filename="`+k.ID.String()+`.wav"`)
	h.Set("Cache-Control", "private")
	h.Set("X-Content-Type-Options", "nosniff")
	if sum, err := hex.DecodeString(file.Sum); err == nil && len(sum) > 0 {
		h.Set("ETag", `"`+file.Sum+`"`)
		h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum)+":") // RFC 9530
	}
	rc := http.NewResponseController(c.w)
	_ = rc.SetWriteDeadline(time.Now().Add(10 * stallLimit)) // a writer without deadlines is a test's
	http.ServeContent(c.w, c.r, "", file.ModTime, file)
	return written, nil
}

func (s *server) recordingLink(c *request) (any, error) {
	k, err := c.call()
	if err != nil {
		return nil, err
	}
	var order linkOrder
	if c.r.ContentLength != 0 {
		if err := c.read(&order); err != nil {
			return nil, err
		}
	}
	switch {
	case order.ExpiresIn == 0:
		order.ExpiresIn = linkDay
	case order.ExpiresIn < 0 || order.ExpiresIn > linkMost:
		return nil, waihu.FieldErrorf("expires_in", "1 to %d seconds were expected", linkMost)
	}
	until := s.Now().Add(time.Duration(order.ExpiresIn) * time.Second)
	key, err := s.Store.Link(linkUse, string(c.acts.ID)+"\n"+k.ID.String(), until)
	if err != nil {
		return nil, err
	}
	return link{c.address(Prefix + "recordings/" + key), until.UTC()}, nil
}

// address is a path of ours at the name under which the client reached us.
func (c *request) address(path string) string {
	u := url.URL{Scheme: "http", Host: c.r.Host, Path: path}
	if c.r.TLS != nil || strings.EqualFold(c.r.Header.Get("X-Forwarded-Proto"), "https") {
		u.Scheme = "https"
	}
	if u.Host == "" {
		return path
	}
	return u.String()
}

func (s *server) linkedRecording(c *request) (any, error) {
	target, err := s.Store.OpenLink(linkUse, c.r.PathValue("link"))
	if err != nil {
		return nil, err
	}
	account, call, _ := strings.Cut(target, "\n")
	id, err := waihu.ParseCallID(call)
	if err != nil {
		return nil, waihu.Errorf(waihu.ENotFound, "the link is not valid or has expired")
	}
	k, err := s.Store.CallOf(c.ctx, waihu.AccountID(account), id)
	if err != nil {
		return nil, err
	}
	if s.Recordings == nil {
		return nil, waihu.Errorf(waihu.ENotFound, "the call has no recording")
	}
	return s.play(c, &k)
}

type retention struct {
	Calls       int `json:"calls" doc:"days; 0 for ever"`
	Transcripts int `json:"transcripts" doc:"days; 0 for ever. With them go reviews, evidence and collected answers"`
	Recordings  int `json:"recordings" doc:"days; 0 for ever"`
}

func (s *server) retention(c *request) (any, error) {
	r, err := s.Store.Retention(c.ctx, c.acts.ID)
	return retention(r), err
}

func (s *server) setRetention(c *request) (any, error) {
	var r retention
	if err := c.read(&r); err != nil {
		return nil, err
	}
	if err := s.Store.SetRetention(c.ctx, c.acts.ID, store.Retention(r)); err != nil {
		return nil, err
	}
	return r, nil
}

type erasure struct {
	Number string `json:"number"`
}

func (s *server) erase(c *request) (any, error) {
	var e erasure
	if err := c.read(&e); err != nil {
		return nil, err
	}
	phone, err := waihu.ParsePhone(e.Number)
	if err != nil {
		return nil, waihu.FieldErrorf("number", "%s", err)
	}
	accounts := []waihu.AccountID{c.acts.ID}
	subs, err := s.Store.SubAccounts(c.ctx, c.acts.ID)
	if err != nil {
		return nil, err
	}
	for _, a := range subs {
		accounts = append(accounts, a.ID)
	}
	report, err := s.Store.Erase(c.ctx, store.Erasure{Phone: phone, Accounts: accounts, Remove: s.Remove})
	if err == nil && s.Compact != nil {
		err = s.Compact()
	}
	return report, err
}
