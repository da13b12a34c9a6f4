package voicefox

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"waihu"
)

// What assistants name by id: voices (音色, speakerId), recognisers (ASR 模型, listenerId) and knowledge bases, which are named by
// their code. No page of the vendor documents them beyond the ids; the routes are ours.

// resourceWire is a resource; a kind shows its own fields alone.
type resourceWire struct {
	ID        int64                  `json:"id"`
	Code      string                 `json:"code,omitempty"` // of a knowledge base: what an assistant's knowledge names
	Name      string                 `json:"name"`
	TTS       *string                `json:"tts,omitempty"`   // of a speaker: the synthesis server by its name in the configuration; "" is the default
	Voice     *string                `json:"voice,omitempty"` // of a speaker
	ASR       *string                `json:"asr,omitempty"`   // of a listener: the recognition server by its name in the configuration; "" is the default
	Items     *[]waihu.KnowledgeSpec `json:"items,omitempty"` // of a knowledge base
	CreatedAt string                 `json:"createdAt"`
	UpdatedAt string                 `json:"updatedAt"`
}

// resourceBody is what a resource is made of.
type resourceBody struct {
	Name  string                 `json:"name"`
	TTS   *string                `json:"tts"`
	Voice *string                `json:"voice"`
	ASR   *string                `json:"asr"`
	Items *[]waihu.KnowledgeSpec `json:"items"`
}

// resourceData is what the ledger keeps of one.
type resourceData struct {
	TTS   string                `json:"tts,omitempty"`
	Voice string                `json:"voice,omitempty"`
	ASR   string                `json:"asr,omitempty"`
	Items []waihu.KnowledgeSpec `json:"items,omitempty"`
}

const maxKnowledge = 10_000

func (b *resourceBody) check(kind waihu.NamedKind) error {
	for field, misplaced := range map[string]bool{"tts": b.TTS != nil && kind != waihu.Speaker, "voice": b.Voice != nil && kind != waihu.Speaker,
		"asr": b.ASR != nil && kind != waihu.Listener, "items": b.Items != nil && kind != waihu.Knowledge} {
		if misplaced {
			return wrong(field, "a %s has no such field", kind)
		}
	}
	if b.Name = strings.TrimSpace(b.Name); b.Name == "" {
		return wrong("name", "a %s has a name", kind)
	}
	if utf8.RuneCountInString(b.Name) > maxName {
		return wrong("name", "at most %d letters were expected", maxName)
	}
	if b.Items == nil {
		return nil
	}
	if len(*b.Items) > maxKnowledge {
		return wrong("items", "at most %d questions were expected", maxKnowledge)
	}
	for i, k := range *b.Items {
		if len(k.Q) == 0 || strings.TrimSpace(k.A) == "" {
			return wrong(fmt.Sprintf("items[%d]", i), "questions q and an answer a were expected")
		}
	}
	return nil
}

func dataOf(n *waihu.Named) (d resourceData, err error) {
	if len(n.Data) > 0 {
		if err = json.Unmarshal(n.Data, &d); err != nil {
			err = fmt.Errorf("read the stored %s %d: %w", n.Kind, n.ID, err)
		}
	}
	return d, err
}

func (c *request) resourceShown(n *waihu.Named) (resourceWire, error) {
	d, err := dataOf(n)
	w := resourceWire{ID: n.ID, Name: n.Name, CreatedAt: stamp(n.CreatedAt, c.loc), UpdatedAt: stamp(n.UpdatedAt, c.loc)}
	switch n.Kind {
	case waihu.Speaker:
		w.TTS, w.Voice = &d.TTS, &d.Voice
	case waihu.Listener:
		w.ASR = &d.ASR
	case waihu.Knowledge:
		d.Items = orEmpty(d.Items)
		w.Code, w.Items = strconv.FormatInt(n.ID, 10), &d.Items
	}
	return w, err
}

// resourceList, resourceCreate and resourceDelete are the handlers of a kind.
func (s *server) resourceList(kind waihu.NamedKind) handler {
	return func(c *request) (any, error) {
		p, err := c.page()
		if err != nil {
			return nil, err
		}
		list, err := s.Store.NamedList(c.ctx, c.account.ID, kind)
		if err != nil {
			return nil, err
		}
		items := []resourceWire{}
		for i := range cut(list, p) {
			w, err := c.resourceShown(&cut(list, p)[i])
			if err != nil {
				return nil, err
			}
			items = append(items, w)
		}
		p.Items, p.Total = items, len(list)
		return p, nil
	}
}

func (s *server) resourceCreate(kind waihu.NamedKind) handler {
	return func(c *request) (any, error) {
		var b resourceBody
		if err := c.read(&b); err != nil {
			return nil, err
		}
		if err := b.check(kind); err != nil {
			return nil, err
		}
		var d resourceData
		set(&d.TTS, b.TTS)
		set(&d.Voice, b.Voice)
		set(&d.ASR, b.ASR)
		set(&d.Items, b.Items)
		raw, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		n := waihu.Named{Kind: kind, Account: c.account.ID, Name: b.Name, Data: raw}
		if err := s.Store.SaveNamed(c.ctx, &n); err != nil {
			return nil, err
		}
		return c.resourceShown(&n)
	}
}

func (s *server) resourceDelete(kind waihu.NamedKind) handler {
	return func(c *request) (any, error) {
		id, err := c.pathID("id")
		if err != nil {
			return nil, err
		}
		return removed{id}, s.Store.DeleteNamed(c.ctx, c.account.ID, kind, id)
	}
}

// namedBy are the resources that a body of an assistant names; nil where it does not speak of them.
type namedBy struct {
	speaker, listener, knowledge *waihu.Named
	voice, ear, base             resourceData
}

// named reads them. An id of 0, and an empty code, take the resource away.
func (c *request) named(b *assistantBody) (*namedBy, error) {
	n := &namedBy{}
	for _, x := range []struct {
		field string
		kind  waihu.NamedKind
		id    *number
		to    **waihu.Named
		data  *resourceData
	}{{"speakerId", waihu.Speaker, b.SpeakerID, &n.speaker, &n.voice}, {"listenerId", waihu.Listener, b.ListenerID, &n.listener, &n.ear},
		{"knowledge", waihu.Knowledge, codeID(b.Knowledge), &n.knowledge, &n.base}} {
		if x.id == nil {
			continue
		}
		*x.to = &waihu.Named{}
		if *x.id == 0 {
			continue
		}
		found, err := c.s.Store.Named(c.ctx, c.account.ID, x.kind, int64(*x.id))
		if waihu.ErrorCode(err) == waihu.ENotFound {
			return nil, wrong(x.field, "there is no such %s in this workspace", x.kind)
		}
		if err != nil {
			return nil, err
		}
		*x.to = &found
		if *x.data, err = dataOf(&found); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// codeID is the id behind the code of a knowledge base; one that is no code of ours is the id that nothing has.
func codeID(code *string) *number {
	if code == nil {
		return nil
	}
	var id number
	if text := strings.TrimSpace(*code); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if id = number(n); err != nil || n <= 0 {
			id = -1
		}
	}
	return &id
}

// apply writes them into a. The questions of a knowledge base are copied: a version never changes, whatever becomes of the base.
func (n *namedBy) apply(a *waihu.AgentSpec, kept map[string]any) {
	keep := func(key string, of *waihu.Named, value any) {
		if delete(kept, key); of.ID != 0 {
			kept[key] = value
		}
	}
	if n.speaker != nil {
		a.Voice.TTS, a.Voice.Voice = n.voice.TTS, n.voice.Voice
		keep("speakerId", n.speaker, n.speaker.ID)
	}
	if n.listener != nil {
		a.Listen.ASR = n.ear.ASR
		keep("listenerId", n.listener, n.listener.ID)
	}
	if n.knowledge != nil {
		a.Knowledge = n.base.Items
		keep("knowledge", n.knowledge, strconv.FormatInt(n.knowledge.ID, 10))
	}
}

// callerWire is a caller number: what option.numbers names.
type callerWire struct {
	ID       int64  `json:"id"`
	Number   string `json:"number"`
	LineID   string `json:"lineId"`
	LineName string `json:"lineName"`
}

// callerList lists the caller numbers that tasks may name.
func (s *server) callerList(c *request) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	callers, err := s.Store.Callers(c.ctx, c.account.ID, "")
	if err != nil {
		return nil, err
	}
	lines, err := s.Store.Lines(c.ctx, c.account.ID)
	if err != nil {
		return nil, err
	}
	names := map[waihu.LineID]string{}
	for _, l := range lines {
		names[l.ID] = l.Name
	}
	items := []callerWire{}
	for _, n := range callers {
		if n.State == 0 {
			items = append(items, callerWire{n.ID, string(n.Number), string(n.Line), names[n.Line]})
		}
	}
	p.Total = len(items)
	p.Items = cut(items, p)
	return p, nil
}

// cut is the page of a list that is small enough to be read whole.
func cut[T any](list []T, p page) []T {
	from := min((p.PageIndex-1)*p.PageSize, len(list))
	return orEmpty(list[from:min(from+p.PageSize, len(list))])
}
