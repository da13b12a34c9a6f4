package speech

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// ChatOptions say where a language model of the OpenAI-compatible kind is and how it is asked. URL and Model are required.
type ChatOptions struct {
	URL    string // the base; "/chat/completions" is added
	Key    string // sent as Bearer; empty: no header
	Model  string
	Client *http.Client // default http.DefaultClient; its transport says which addresses may be reached
	// Timeout bounds one request to its last byte; default 60 s.
	Timeout time.Duration
	// First and Stall bound a streamed answer: to its first event, and between two; default 3 s and 2 s.
	First, Stall time.Duration
	// Retries is how often a request is repeated after 429, a 5xx or a connection that failed before the answer; default 2, below 0 never.
	Retries int
	// Format is how an answer after a schema is asked for: "json_schema" (default), "json_object", "none". When a server refuses one (400 or
	// 422), the next is tried, and kept.
	Format      string
	Temperature *float64
	MaxTokens   int
	// Extra is merged into the body of every request, last: vendors' own fields such as enable_thinking: false.
	Extra   map[string]any
	Headers map[string]string
	// Usage asks streamed answers for their token counts; many servers refuse the field.
	Usage bool
}

// Chat asks one model. It may be used by any number of goroutines at once; it starts none that outlives a call.
type Chat struct {
	o      ChatOptions
	url    string
	format atomic.Int32 // index into chatFormats: what the server is known to accept
	used   chatUsage
}

// chatUsage counts what a model has cost us since the start.
type chatUsage struct{ requests, in, out atomic.Int64 }

var chatFormats = []string{"json_schema", "json_object", "none"}

// ChatMessage is one message of a conversation. A tool's answer carries ToolCallID; an assistant's message may carry ToolCalls.
type ChatMessage struct {
	Role       string         `json:"role"` // system, user, assistant, tool
	Content    string         `json:"content"`
	ToolCalls  []ChatToolCall `json:"tool_calls,omitempty"`
	ToolCallID string         `json:"tool_call_id,omitempty"`
}

// ChatToolCall is a function that the model wants called. Arguments is JSON as the model wrote it: check it.
type ChatToolCall struct {
	ID        string
	Name      string
	Arguments string
}

type wireToolCall struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	} `json:"function"`
}

// MarshalJSON is the wire form.
func (c ChatToolCall) MarshalJSON() ([]byte, error) {
	w := wireToolCall{ID: c.ID, Type: "function"}
	w.Function.Name = c.Name
	var err error
	if w.Function.Arguments, err = json.Marshal(c.Arguments); err != nil {
		return nil, err
	}
	return json.Marshal(w)
}

// ChatTool is a function that the model may call; Parameters is its JSON Schema.
type ChatTool struct {
	Name        string
	Description string
	Parameters  json.RawMessage
}

// ChatRequest is one question. With Schema the answer's text is asked to be JSON after it: the caller checks it all the same.
type ChatRequest struct {
	Messages   []ChatMessage
	Tools      []ChatTool
	ToolChoice string // "", auto, none, required
	SchemaName string
	Schema     json.RawMessage
	MaxTokens  int // 0: as configured
}

// ChatReply is a finished answer.
type ChatReply struct {
	Text      string
	ToolCalls []ChatToolCall
	Finish    string // stop, length, tool_calls, content_filter
	Model     string // as the server names itself
	Refusal   string
	In, Out   int // tokens, 0 when the server did not say
}

// Truncated says that the model was cut off (max_tokens, content filter): what is there is not all.
func (r *ChatReply) Truncated() bool { return r.Finish == "length" || r.Finish == "content_filter" }

// NewChat checks the options. It connects to nothing.
func NewChat(o ChatOptions) (*Chat, error) {
	if !strings.HasPrefix(o.URL, "http://") && !strings.HasPrefix(o.URL, "https://") {
		return nil, errors.New("the address of a language model begins with http:// or https://")
	}
	if o.Model == "" {
		return nil, errors.New("the name of a language model is missing")
	}
	o.Client = cmp.Or(o.Client, http.DefaultClient)
	o.Timeout = cmp.Or(o.Timeout, 60*time.Second)
	o.First, o.Stall = cmp.Or(o.First, 3*time.Second), cmp.Or(o.Stall, 2*time.Second)
	o.Retries = cmp.Or(o.Retries, 2)
	c := &Chat{o: o, url: strings.TrimRight(o.URL, "/") + "/chat/completions"}
	switch o.Format {
	case "", "json_schema":
	case "json_object":
		c.format.Store(1)
	case "none":
		c.format.Store(2)
	default:
		return nil, fmt.Errorf("the format %q is unknown: json_schema, json_object or none was expected", o.Format)
	}
	return c, nil
}

// Used is how many requests were answered and the tokens they cost, as far as the server said.
func (c *Chat) Used() (requests, in, out int64) {
	return c.used.requests.Load(), c.used.in.Load(), c.used.out.Load()
}

// maxChat bounds an answer; a transcript's check is a few KB.
const maxChat = 4 << 20

// Complete asks and waits for the whole answer. What can pass is repeated (see ChatOptions.Retries), as the server's Retry-After says, while
// Timeout and ctx allow it. The error is a *ChatError.
func (c *Chat) Complete(ctx context.Context, q ChatRequest) (ChatReply, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	known := c.format.Load()
	for try, format := 0, known; ; {
		r, err := c.complete(ctx, q, chatFormats[format])
		var failed *ChatError
		if err == nil && format != known { // learnt only now: a question may be refused for other reasons, such as its length
			c.format.CompareAndSwap(known, format)
		}
		if err == nil || !errors.As(err, &failed) {
			return r, err
		}
		if q.Schema != nil && format < 2 && (failed.Status == http.StatusBadRequest || failed.Status == http.StatusUnprocessableEntity) {
			format++
			continue
		}
		if !failed.Retryable || try >= c.o.Retries || !sleep(ctx, failed.pause(try)) {
			return r, err
		}
		try++
	}
}

// sleep waits and says whether it could: not when ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pause is what the server asked for, else half a second doubling, scattered.
func (e *ChatError) pause(try int) time.Duration {
	if e.RetryAfter > 0 {
		return e.RetryAfter
	}
	p := 500 * time.Millisecond << min(try, 5)
	return p/2 + rand.N(p/2)
}

func (c *Chat) complete(ctx context.Context, q ChatRequest, format string) (ChatReply, error) {
	resp, err := c.post(ctx, q, format, false)
	if err != nil {
		return ChatReply{}, err
	}
	defer resp.Body.Close()
	return c.whole(ctx, resp)
}

// post sends the question and returns an answer of status 200.
func (c *Chat) post(ctx context.Context, q ChatRequest, format string, stream bool) (*http.Response, error) {
	body, err := c.body(q, format, stream)
	if err != nil {
		return nil, &ChatError{Stage: StageFormat, Cause: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, &ChatError{Stage: StageDial, Cause: err}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if stream {
		req.Header.Set("Accept", "text/event-stream")
	}
	if c.o.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.o.Key)
	}
	for k, v := range c.o.Headers {
		req.Header.Set(k, v)
	}
	resp, err := c.o.Client.Do(req)
	if err != nil {
		return nil, netError(ctx, StageDial, err)
	}
	c.used.requests.Add(1)
	if err := unzip(resp); err != nil {
		resp.Body.Close()
		return nil, &ChatError{Stage: StageProtocol, Cause: err}
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, statusError(resp)
	}
	return resp, nil
}

func (c *Chat) body(q ChatRequest, format string, stream bool) ([]byte, error) {
	body := map[string]any{"model": c.o.Model, "messages": q.Messages}
	if c.o.Temperature != nil {
		body["temperature"] = *c.o.Temperature
	}
	if n := cmp.Or(q.MaxTokens, c.o.MaxTokens); n > 0 {
		body["max_tokens"] = n
	}
	if stream {
		body["stream"] = true
		if c.o.Usage {
			body["stream_options"] = map[string]any{"include_usage": true}
		}
	}
	if len(q.Tools) > 0 {
		var tools []any
		for _, t := range q.Tools {
			tools = append(tools, map[string]any{"type": "function", "function": map[string]any{"name": t.Name, "description": t.Description, "parameters": t.Parameters}})
		}
		body["tools"] = tools
		if q.ToolChoice != "" {
			body["tool_choice"] = q.ToolChoice
		}
	}
	if q.Schema != nil {
		switch format {
		case "json_schema":
			body["response_format"] = map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": cmp.Or(q.SchemaName, "answer"), "strict": true, "schema": q.Schema}}
		case "json_object":
			body["response_format"] = map[string]any{"type": "json_object"}
		}
	}
	maps.Copy(body, c.o.Extra)
	return json.Marshal(body)
}

// whole reads an answer that was not asked to be streamed. Some servers stream all the same.
func (c *Chat) whole(ctx context.Context, resp *http.Response) (ChatReply, error) {
	if mediaType(resp) == "text/event-stream" {
		return c.events(ctx, resp, nil, func() {})
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxChat+1))
	if err != nil {
		return ChatReply{}, netError(ctx, StageRead, err)
	}
	if len(text) > maxChat {
		return ChatReply{}, &ChatError{Stage: StageProtocol, Cause: fmt.Errorf("the answer is longer than %d MiB", maxChat>>20)}
	}
	var w chatWire
	if err := json.Unmarshal(text, &w); err != nil {
		return ChatReply{}, &ChatError{Stage: StageProtocol, Retryable: true, Status: resp.StatusCode,
			Cause: fmt.Errorf("the answer (%s) is not a chat completion: it is no JSON, or cut off", cmp.Or(mediaType(resp), "no content type"))}
	}
	if e := w.failure(); e != nil {
		return ChatReply{}, e
	}
	if len(w.Choices) == 0 || w.Choices[0].Message == nil {
		return ChatReply{}, &ChatError{Stage: StageProtocol, Retryable: true, Cause: errors.New("the answer has no choices")}
	}
	a := newChatAnswer()
	first := w.Choices[0]
	if err := a.add(first.Message); err != nil {
		return ChatReply{}, err
	}
	a.note(&w, first.FinishReason)
	return c.reply(a), nil
}

func (c *Chat) reply(a *chatAnswer) ChatReply {
	r := a.reply()
	c.used.in.Add(int64(r.In))
	c.used.out.Add(int64(r.Out))
	return r
}
