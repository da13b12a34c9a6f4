package speech

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

var (
	errFirst = errors.New("the first word did not come in time")
	errStall = errors.New("the answer stopped in its middle")
)

// Stream asks and hands over the answer's words as they come: text is called for each piece, from this goroutine. What
// the model thinks aloud is dropped. The returned reply is the whole. An error inside the answer is not repeated, and carries what had come;
// text returning an error ends it and is the error.
func (c *Chat) Stream(ctx context.Context, q ChatRequest, text func(string) error) (ChatReply, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	watch := time.AfterFunc(c.o.First, func() { stop(errFirst) })
	defer func() { watch.Stop() }()
	resp, err := c.post(ctx, q, chatFormats[c.format.Load()], true)
	if err != nil {
		return ChatReply{}, err
	}
	defer resp.Body.Close()
	if mediaType(resp) == "application/json" { // it does not stream
		r, err := c.whole(ctx, resp)
		if err == nil && r.Text != "" {
			err = text(r.Text)
		}
		return r, err
	}
	alive := func() {
		if watch.Stop() {
			watch = time.AfterFunc(c.o.Stall, func() { stop(errStall) })
		}
	}
	return c.events(ctx, resp, text, alive)
}

// events reads a stream of events to its end: [DONE], or the end of the body after a finish_reason.
func (c *Chat) events(ctx context.Context, resp *http.Response, text func(string) error, alive func()) (ChatReply, error) {
	if mt := mediaType(resp); mt != "text/event-stream" && mt != "" {
		return ChatReply{}, &ChatError{Stage: StageProtocol, Retryable: true, Status: resp.StatusCode, Cause: fmt.Errorf("a stream of events was expected, not %s", mt)}
	}
	a := newChatAnswer()
	fail := func(e *ChatError) (ChatReply, error) {
		e.Partial = a.text.String()
		return a.reply(), e
	}
	lines := eventReader{r: bufio.NewReaderSize(resp.Body, 16<<10)}
	for {
		data, err := lines.next()
		if errors.Is(err, io.EOF) {
			if a.finish == "" {
				return fail(&ChatError{Stage: StageRead, Retryable: true, Cause: errors.New("the stream ended in the middle of the answer")})
			}
			return c.reply(a), nil
		}
		if err != nil {
			return fail(netError(ctx, StageRead, err))
		}
		alive()
		if string(data) == "[DONE]" {
			return c.reply(a), nil
		}
		var w chatWire
		if err := json.Unmarshal(data, &w); err != nil {
			return fail(&ChatError{Stage: StageProtocol, Retryable: true, Cause: errors.New("an event of the stream is not JSON")})
		}
		if e := w.failure(); e != nil {
			return fail(e)
		}
		finish := ""
		if len(w.Choices) > 0 { // none: token counts, or a filter's preamble
			ch := w.Choices[0]
			finish = ch.FinishReason
			delta := ch.Delta
			if delta == nil {
				delta = ch.Message
			}
			if delta != nil {
				if err := a.add(delta); err != nil {
					return fail(err)
				}
				if text != nil && delta.Content != "" {
					if err := text(string(delta.Content)); err != nil {
						return a.reply(), err
					}
				}
			}
		}
		a.note(&w, finish)
	}
}

// eventReader reads server-sent events: lines end in LF, CRLF or CR, several data lines are one, comments and other fields are passed over.
type eventReader struct {
	r    *bufio.Reader
	n    int  // bytes that have come
	cr   bool // the last line ended in CR: an LF right after belongs to it
	some bool // a line was read
}

const maxEvent = 1 << 20

// next is the data of the next event that has any; io.EOF at the end.
func (e *eventReader) next() ([]byte, error) {
	var data []byte
	has := false
	for {
		line, err := e.line()
		if err != nil {
			if errors.Is(err, io.EOF) && has { // some servers forget the last blank line
				return data, nil
			}
			return nil, err
		}
		if !e.some {
			e.some, line = true, bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")) // a byte order mark
		}
		if len(line) == 0 {
			if has {
				return data, nil
			}
			continue
		}
		value, ok := bytes.CutPrefix(line, []byte("data:"))
		if !ok {
			continue
		}
		value = bytes.TrimPrefix(value, []byte(" "))
		if has {
			data = append(data, '\n')
		}
		data, has = append(data, value...), true
		if len(data) > maxEvent {
			return nil, errors.New("an event of the stream is longer than 1 MiB")
		}
	}
}

func (e *eventReader) line() ([]byte, error) {
	var out []byte
	for {
		b, err := e.r.ReadByte()
		if err != nil {
			if errors.Is(err, io.EOF) && len(out) > 0 {
				return out, nil
			}
			return nil, err
		}
		if e.n++; e.n > maxChat {
			return nil, fmt.Errorf("the stream is longer than %d MiB", maxChat>>20)
		}
		after := e.cr
		e.cr = b == '\r'
		switch {
		case b == '\n' && after:
			continue
		case b == '\n', b == '\r':
			return out, nil
		}
		if out = append(out, b); len(out) > maxEvent {
			return nil, errors.New("a line of the stream is longer than 1 MiB")
		}
	}
}

// chatWire is an answer or a piece of one.
type chatWire struct {
	Model   string `json:"model"`
	Choices []struct {
		Message      *chatPiece `json:"message"`
		Delta        *chatPiece `json:"delta"`
		FinishReason string     `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		In  int `json:"prompt_tokens"`
		Out int `json:"completion_tokens"`
	} `json:"usage"`
	Error   json.RawMessage `json:"error"`
	Detail  json.RawMessage `json:"detail"`
	Message string          `json:"message"`
	Code    json.RawMessage `json:"code"`
}

// chatPiece is a message or a delta. What the model thinks (reasoning_content, reasoning) is not read.
type chatPiece struct {
	Content   chatText        `json:"content"`
	Refusal   string          `json:"refusal"`
	ToolCalls []wireToolPiece `json:"tool_calls"`
}

// chatText is a text, null, or a list of parts of which those with text count.
type chatText string

// UnmarshalJSON reads the three forms.
func (t *chatText) UnmarshalJSON(b []byte) error {
	var s *string
	if json.Unmarshal(b, &s) == nil {
		if s != nil {
			*t = chatText(*s)
		}
		return nil
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	var out strings.Builder
	for _, p := range parts {
		out.WriteString(p.Text)
	}
	*t = chatText(out.String())
	return nil
}

type wireToolPiece struct {
	Index    *int   `json:"index"`
	ID       string `json:"id"`
	Function struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	} `json:"function"`
}

// chatAnswer is an answer on its way.
type chatAnswer struct {
	text    strings.Builder
	refusal strings.Builder
	calls   []*toolAnswer
	finish  string
	model   string
	in, out int
}

type toolAnswer struct {
	index    int
	id, name string
	args     strings.Builder
}

func newChatAnswer() *chatAnswer { return &chatAnswer{} }

func (a *chatAnswer) note(w *chatWire, finish string) {
	if w.Model != "" {
		a.model = w.Model
	}
	if finish != "" {
		a.finish = finish
	}
	if w.Usage != nil {
		a.in, a.out = w.Usage.In, w.Usage.Out
	}
}

// maxTools bounds how many functions one answer may call.
const maxTools = 32

func (a *chatAnswer) add(p *chatPiece) *ChatError {
	a.text.WriteString(string(p.Content))
	a.refusal.WriteString(p.Refusal)
	for i, t := range p.ToolCalls {
		index := i
		if t.Index != nil {
			index = *t.Index
		}
		// Pieces are joined by their index. Servers that send everything under index 0 begin each call with a new id.
		var at *toolAnswer
		for _, c := range a.calls {
			if c.index == index {
				at = c
			}
		}
		if at == nil || t.ID != "" && at.id != "" && t.ID != at.id {
			if len(a.calls) >= maxTools {
				return &ChatError{Stage: StageProtocol, Cause: fmt.Errorf("the answer calls more than %d functions", maxTools)}
			}
			at = &toolAnswer{index: index}
			a.calls = append(a.calls, at)
		}
		if t.ID != "" {
			at.id = t.ID
		}
		if t.Function.Name != "" {
			at.name = t.Function.Name
		}
		if args := t.Function.Arguments; len(args) > 0 && string(args) != "null" {
			var text string
			if json.Unmarshal(args, &text) == nil {
				at.args.WriteString(text)
			} else {
				at.args.Write(args) // an object instead of a string
			}
		}
	}
	return nil
}

func (a *chatAnswer) reply() ChatReply {
	r := ChatReply{Text: a.text.String(), Refusal: a.refusal.String(), Finish: a.finish, Model: a.model, In: a.in, Out: a.out}
	for i, c := range a.calls {
		if c.id == "" {
			c.id = fmt.Sprintf("call_%d", i+1)
		}
		r.ToolCalls = append(r.ToolCalls, ChatToolCall{ID: c.id, Name: c.name, Arguments: c.args.String()})
	}
	return r
}
