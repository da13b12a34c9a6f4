package yunfu

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"waihu"
)

const maxRecordings = 30 // ids of one batch

// Links to recordings and number files hold for a day: long enough for a page that stands open.
const linkLife = 24 * time.Hour

// The uses of links.
const (
	voiceLink   = "yunfu voice"
	numbersLink = "yunfu numbers"
)

var noRecording = refused(http.StatusNotFound, "该通话没有录音")

// recording sends a call's recording as bytes, with ranges; that it is bytes and no address is ours.
func (s *server) recording(c *request) (*answer, error) {
	k, _, err := c.call()
	if err != nil {
		return nil, err
	}
	return nil, s.sendRecording(c, &k)
}

// sendRecording sends it from wherever it lies, with ranges.
func (s *server) sendRecording(c *request, k *waihu.Call) error {
	if k.Outcome.Recording == "" || s.Recordings == nil {
		return noRecording
	}
	file, err := s.Recordings(c.ctx, k)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return noRecording
	}
	if err != nil {
		return err
	}
	defer file.Close()
	h := c.w.Header()
	h.Set("Content-Type", "audio/wav")
	h.Set("Content-Disposition", `attachment; filename="`+k.ID.String()+`.wav"`)
	h.Set("Cache-Control", "private")
	http.ServeContent(c.w, c.r, "", file.ModTime, file)
	return nil
}

// voiceRow is the address of one recording; the vendor's shape is not known.
type voiceRow struct {
	ID      string `json:"id"`
	Record  string `json:"record_id"`
	URL     any    `json:"url"`
	Expires any    `json:"expires_at"`
	Message string `json:"message"` // why there is no url
}

// recordings gives addresses that play without a token until they expire.
func (s *server) recordings(c *request) (*answer, error) {
	t, err := c.task()
	if err != nil {
		return nil, err
	}
	n := c.form.get("recordIds", "record_ids").need("通话记录 id")
	list := n.words()
	if len(list) > maxRecordings {
		n.fail("最多 %d 条,收到 %d 条", maxRecordings, len(list))
	}
	ids := make([]string, len(list))
	for i, n := range list {
		ids[i] = n.id()
	}
	if err := c.form.err(); err != nil {
		return nil, err
	}
	until := s.Now().Add(linkLife)
	data := []voiceRow{}
	for _, text := range ids {
		row := voiceRow{ID: text, Record: text}
		var k waihu.Call
		id, err := waihu.ParseCallID(text)
		if err == nil {
			k, err = s.Store.Call(c.ctx, c.acts.ID, t.ID, id)
		}
		switch code := waihu.ErrorCode(err); {
		case code == waihu.ENotFound || code == waihu.EInvalid:
			row.Message = "通话记录不存在"
		case err != nil:
			return nil, err
		case k.Outcome.Recording == "":
			row.Message = noRecording.message
		default:
			address, err := c.voiceAddress(t.ID, k.ID)
			if err != nil {
				return nil, err
			}
			row.URL, row.Expires = address, stamp(until, c.loc)
		}
		data = append(data, row)
	}
	return &answer{message: "返回通话录音地址成功", data: data}, nil
}

// voiceAddress plays a call's recording without a token for linkLife.
func (c *request) voiceAddress(task waihu.TaskID, id waihu.CallID) (string, error) {
	key, err := c.s.Store.Link(voiceLink, strings.Join([]string{string(c.acts.ID), string(task), id.String()}, "\n"), c.s.Now().Add(linkLife))
	return c.address("/agent-api/download-voice?key=" + key), err
}

// address is a path of ours at the name under which the client reached us, in callbacks at the public one.
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

// voice plays the recording that a link stands for; nobody asks for a token.
func (s *server) voice(c *request) (*answer, error) {
	target, err := c.link(voiceLink)
	if err != nil {
		return nil, err
	}
	part := strings.Split(target, "\n")
	id, err := waihu.ParseCallID(part[len(part)-1])
	if err != nil || len(part) != 3 {
		return nil, noLink
	}
	k, err := s.Store.Call(c.ctx, waihu.AccountID(part[0]), waihu.TaskID(part[1]), id)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return nil, noLink
	}
	if err != nil {
		return nil, err
	}
	return nil, s.sendRecording(c, &k)
}

var noLink = refused(http.StatusNotFound, "链接无效或已过期")

// link is what the key of the request stands for.
func (c *request) link(use string) (string, error) {
	target, err := c.s.Store.OpenLink(use, c.r.URL.Query().Get("key"))
	if waihu.ErrorCode(err) == waihu.ENotFound {
		err = noLink
	}
	return target, err
}
