package voicefox

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"waihu"
	"waihu/store"
)

// callWire is a call in the log.
type callWire struct {
	SessionID  string          `json:"sessionId"`
	TaskID     int64           `json:"taskId"`
	StartAt    string          `json:"startAt"`
	AnswerAt   string          `json:"answerAt"`
	EndAt      string          `json:"endAt"`
	Callee     string          `json:"callee"`
	Caller     string          `json:"caller"`
	Direction  string          `json:"direction"`
	Duration   int             `json:"duration"`
	Billsec    int             `json:"billsec"`
	RecordFile string          `json:"recordFile"`
	Assistant  []assistantPair `json:"assistant"`
}

type assistantPair struct {
	ID  int64 `json:"id"`
	Vid int64 `json:"vid"`
}

const (
	inbound     = "inbound"
	outbound    = "outbound"
	phoneCall   = "phone"
	privateTest = "privateTest"
)

// Bounds of the log's filters. The page states the first.
const (
	maxLogTasks      = 10
	maxLogAssistants = 100
)

// callLog lists ended calls, the latest first; today's when no time is given.
func (s *server) callLog(c *request) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	f, none, err := c.logFilter(p)
	if err != nil {
		return nil, err
	}
	items, look := []callWire{}, c.look()
	if p.Items = items; none {
		return p, nil
	}
	calls, total, err := s.Store.CallLog(c.ctx, c.account.ID, f)
	if err != nil {
		return nil, err
	}
	serials := map[waihu.TaskID]int64{}
	for i := range calls {
		k := &calls[i]
		if _, known := serials[k.Task]; !known {
			t, err := s.Store.Task(c.ctx, c.account.ID, k.Task)
			if err != nil && waihu.ErrorCode(err) != waihu.ENotFound { // deleted since
				return nil, err
			}
			serials[k.Task] = t.Serial
		}
		w, err := c.callShown(k, serials[k.Task], look)
		if err != nil {
			return nil, err
		}
		items = append(items, w)
	}
	p.Items, p.Total = items, total
	return p, nil
}

// logFilter reads the query. none: nothing can match, such as inbound calls, which this platform does not take.
func (c *request) logFilter(p page) (f store.CallLogFilter, none bool, err error) {
	query := c.r.URL.Query()
	today := startOfDay(c.s.Now().In(c.loc))
	f = store.CallLogFilter{From: today, To: endOfDay(today), Page: p.PageIndex, PerPage: p.PageSize}
	for name, to := range map[string]*time.Time{"startTime": &f.From, "endTime": &f.To} {
		if text := strings.TrimSpace(query.Get(name)); text != "" {
			t, ok := parseTime(text, c.loc, name == "endTime")
			if !ok {
				return f, false, wrong(name, "a time such as 2006-01-02 15:04:05 was expected")
			}
			*to = t
		}
	}
	if f.Tasks, err = c.ids("taskId", maxLogTasks); err != nil {
		return f, false, err
	}
	assistants, err := c.ids("assistantIds", maxLogAssistants)
	if err != nil {
		return f, false, err
	}
	for _, id := range assistants {
		a, err := c.s.Store.AgentBySerial(c.ctx, c.account.ID, id)
		if waihu.ErrorCode(err) == waihu.ENotFound {
			continue
		}
		if err != nil {
			return f, false, err
		}
		f.Agents = append(f.Agents, a.ID)
	}
	none = len(assistants) > 0 && len(f.Agents) == 0
	switch direction := query.Get("direction"); direction {
	case "", outbound:
	case inbound:
		none = true
	default:
		return f, false, wrong("direction", "inbound or outbound was expected")
	}
	switch kind := query.Get("description"); kind {
	case "", phoneCall:
	case privateTest:
		none = true
	default:
		return f, false, wrong("description", "phone or privateTest was expected")
	}
	if text := strings.TrimSpace(query.Get("phone")); text != "" {
		phone, err := waihu.ParsePhone(text)
		if f.Phone = string(phone); err != nil {
			none = true // nothing has such a number
		}
	}
	return f, none, nil
}

func (c *request) callShown(k *waihu.Call, task int64, look *lookup) (callWire, error) {
	pair, err := look.pair(k)
	if err != nil {
		return callWire{}, err
	}
	file, err := c.recordAddress(k)
	if err != nil {
		return callWire{}, err
	}
	return callWire{SessionID: k.ID.String(), TaskID: task, StartAt: stamp(k.StartedAt, c.loc), AnswerAt: stamp(k.AnsweredAt, c.loc), EndAt: stamp(k.EndedAt, c.loc),
		Callee: string(k.Phone), Caller: string(k.Outcome.Caller), Direction: outbound, Duration: seconds(duration(k)), Billsec: seconds(k.Outcome.Talk()),
		RecordFile: file, Assistant: []assistantPair{pair}}, nil
}

// pair names the assistant that talked and its version.
func (l *lookup) pair(k *waihu.Call) (assistantPair, error) {
	if k.Version != 0 {
		a, err := l.version(k.Version)
		return assistantPair{a.Serial, k.Version}, err
	}
	a, err := l.agent(k.Agent) // before calls kept it
	return assistantPair{a.Serial, a.VersionID}, err
}

func duration(k *waihu.Call) time.Duration {
	if k.EndedAt.Before(k.StartedAt) {
		return 0
	}
	return k.EndedAt.Sub(k.StartedAt)
}

// seconds rounds to the nearest.
func seconds(d time.Duration) int { return int(d.Round(time.Second) / time.Second) }

// Addresses of recordings hold for a day, longer than a page stands open or a webhook is tried again.
const linkLife = 24 * time.Hour

// recordLink is the use of our links.
const recordLink = "voicefox record"

// recordAddress plays a call's recording without a token for linkLife; "" when there is none.
func (c *request) recordAddress(k *waihu.Call) (string, error) {
	if k.Outcome.Recording == "" || c.s.Recordings == nil {
		return "", nil
	}
	key, err := c.s.Store.Link(recordLink, string(k.Account)+"\n"+k.ID.String(), c.s.Now().Add(linkLife))
	return c.address("/openapi/records/" + key), err
}

// address is a path of ours at the name under which the client reached us, in webhooks at the public one.
func (c *request) address(path string) string {
	if c.r == nil {
		return strings.TrimSuffix(c.s.Public, "/") + path
	}
	scheme := "http"
	if c.r.TLS != nil || strings.EqualFold(c.r.Header.Get("X-Forwarded-Proto"), "https") {
		scheme = "https"
	}
	if c.r.Host == "" {
		return path
	}
	return (&url.URL{Scheme: scheme, Host: c.r.Host}).String() + path
}

// record sends the recording that an address stands for, with ranges.
func (s *server) record(c *request) (any, error) {
	gone := refused(http.StatusNotFound, "the address is not valid or has expired")
	target, err := s.Store.OpenLink(recordLink, c.r.PathValue("key"))
	if err != nil {
		return nil, gone
	}
	account, call, _ := strings.Cut(target, "\n")
	id, err := waihu.ParseCallID(call)
	if err != nil || s.Recordings == nil {
		return nil, gone
	}
	k, err := s.Store.CallOf(c.ctx, waihu.AccountID(account), id)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return nil, gone
	}
	if err != nil {
		return nil, err
	}
	file, err := s.Recordings(c.ctx, &k)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return nil, gone
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	h := c.w.Header()
	h.Set("Content-Type", "audio/wav")
	h.Set("Content-Disposition", `attachment; filename="`+k.ID.String()+`.wav"`)
	h.Set("Cache-Control", "private")
	http.ServeContent(c.w, c.r, "", file.ModTime, file)
	return streamed{}, nil
}

// traceWire is one event of a call's dialogue.
type traceWire struct {
	SessionID string `json:"sessionId"`
	Event     string `json:"event"`
	Content   string `json:"content"`
	Elapsed   int64  `json:"elapsedMillSeconds"` // since the session began
	DialogID  string `json:"dialogID"`
	CreatedAt string `json:"createdAt"`
}

func (s *server) callTrace(c *request) (any, error) {
	k, err := c.call()
	if err != nil {
		return nil, err
	}
	return c.trace(&k), nil
}

// trace is the dialogue of a call: an utterance of the callee and what it is answered with share a dialogID, the opening has one
// of its own.
func (c *request) trace(k *waihu.Call) []traceWire {
	id, turn := k.ID.String(), 0
	out := []traceWire{}
	say := func(event, content string, at time.Time) {
		out = append(out, traceWire{id, event, content, max(0, at.Sub(k.StartedAt).Milliseconds()), fmt.Sprintf("%s-%d", id, turn), stamp(at, c.loc)})
	}
	say("begin", "", k.StartedAt)
	for _, t := range k.Outcome.Transcript {
		if t.Partial {
			continue
		}
		event := "system.say"
		if t.Who == "callee" {
			event = "customer.say"
			turn++
		}
		content := t.Text
		if content == "" {
			content = t.Digit
		}
		say(event, content, k.AnsweredAt.Add(time.Duration(t.FromMS)*time.Millisecond))
	}
	if !k.EndedAt.IsZero() {
		say("hangup", "", k.EndedAt)
	}
	return out
}
