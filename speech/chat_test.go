package speech

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// chatWith starts a scripted server and a client of it; the client must not have broken the protocol.
func chatWith(t *testing.T, edit func(*ChatOptions), script func(n int, r ChatSeen) ChatStep) (*Chat, *ChatServer) {
	t.Helper()
	s := &ChatServer{Script: script, Key: "sk-test"}
	far := httptest.NewServer(s)
	t.Cleanup(func() {
		far.CloseClientConnections()
		far.Close()
		if b := s.Breaches(); len(b) > 0 {
			t.Errorf("the client broke the protocol: %v", b)
		}
	})
	o := ChatOptions{URL: far.URL + "/v1", Key: "sk-test", Model: "m", Client: far.Client(), Timeout: 20 * time.Second, First: 10 * time.Second, Stall: 10 * time.Second}
	if edit != nil {
		edit(&o)
	}
	c, err := NewChat(o)
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

func always(step ChatStep) func(int, ChatSeen) ChatStep {
	return func(int, ChatSeen) ChatStep { return step }
}

var hello = ChatRequest{Messages: []ChatMessage{{Role: "system", Content: "短"}, {Role: "user", Content: "你好"}}}

// TestChatStream: the same answer, however the bytes come.
func TestChatStream(t *testing.T) {
	t.Parallel()
	const said = "您好，请问是张三吗？\n再见。"
	tools := []ChatToolCall{{ID: "a", Name: "collect", Arguments: `{"key":"visit","value":"是\n\"好\""}`}, {ID: "b", Name: "hangup", Arguments: `{}`}}
	chunk := func(s string) string { return "data: " + s + "\n\n" }
	delta := func(s string) string { return chunk(`{"choices":[{"delta":` + s + `}]}`) }
	stop := chunk(`{"choices":[{"delta":{},"finish_reason":"stop"}]}`)
	for name, x := range map[string]struct {
		step  ChatStep
		text  string
		tools []ChatToolCall
	}{
		"LF":                      {step: ChatStep{Text: said}, text: said},
		"CRLF":                    {step: ChatStep{Text: said, CRLF: true}, text: said},
		"every byte alone":        {step: ChatStep{Text: said, Split: 1}, text: said},
		"every byte alone, CRLF":  {step: ChatStep{Text: said, Split: 1, CRLF: true}, text: said},
		"gzip":                    {step: ChatStep{Text: said, Gzip: true}, text: said},
		"no DONE":                 {step: ChatStep{Text: said, NoDone: true}, text: said},
		"two tools with content":  {step: ChatStep{Text: said, Tools: tools}, text: said, tools: tools},
		"byte order mark":         {step: ChatStep{Body: "\xef\xbb\xbf" + delta(`{"content":"a"}`) + stop, ContentType: "text/event-stream"}, text: "a"},
		"CR alone":                {step: ChatStep{Body: strings.ReplaceAll(delta(`{"content":"a"}`)+stop, "\n", "\r"), ContentType: "text/event-stream"}, text: "a"},
		"comments":                {step: ChatStep{Body: ": keep\n\n" + delta(`{"content":"a"}`) + ": PROCESSING\n" + delta(`{"content":"b"}`) + stop, ContentType: "text/event-stream"}, text: "ab"},
		"several data lines":      {step: ChatStep{Body: "event: x\ndata: {\"choices\":\ndata: [{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n", ContentType: "text/event-stream; charset=utf-8"}, text: "a"},
		"no last blank line":      {step: ChatStep{Body: `data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}`, ContentType: "text/event-stream"}, text: "a"},
		"thinking is dropped":     {step: ChatStep{Body: delta(`{"reasoning_content":"hm","content":null}`) + delta(`{"reasoning":"hm","content":"a","x":{"y":1}}`) + stop, ContentType: "text/event-stream"}, text: "a"},
		"filter's preamble":       {step: ChatStep{Body: chunk(`{"choices":[],"prompt_filter_results":[]}`) + delta(`{"content":"a"}`) + stop, ContentType: "text/event-stream"}, text: "a"},
		"answered whole":          {step: ChatStep{Body: `{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}`}, text: "a"},
		"parts instead of a text": {step: ChatStep{Body: `{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},"finish_reason":"stop"}]}`}, text: "ab"},
		"interleaved tools": {step: ChatStep{Body: delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":\"\\"}}]}`) +
			delta(`{"content":"a","tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":""}}]}`) +
			delta(`{"tool_calls":[{"index":0,"function":{"arguments":"n\"}"}},{"index":1,"function":{"arguments":"{}"}}]}`) + stop, ContentType: "text/event-stream"},
			text: "a", tools: []ChatToolCall{{"a", "f", `{"x":"\n"}`}, {"b", "g", "{}"}}},
		"all tools at index 0": {step: ChatStep{Body: delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}`) +
			delta(`{"tool_calls":[{"index":0,"id":"b","function":{"name":"g","arguments":{"x":1}}}]}`) + stop, ContentType: "text/event-stream"},
			tools: []ChatToolCall{{"a", "f", "{}"}, {"b", "g", `{"x":1}`}}},
		"tool without id": {step: ChatStep{Body: delta(`{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{}"}}]}`) + stop, ContentType: "text/event-stream"},
			tools: []ChatToolCall{{"call_1", "f", "{}"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := chatWith(t, nil, always(x.step))
			var heard strings.Builder
			r, err := c.Stream(t.Context(), hello, func(s string) error { heard.WriteString(s); return nil })
			if err != nil {
				t.Fatal(err)
			}
			if r.Text != x.text || heard.String() != x.text || !slices.Equal(r.ToolCalls, x.tools) {
				t.Errorf("got %+v, heard %q", r, heard.String())
			}
		})
	}
}

// TestChatFailures: every way to fail has its stage, and says whether it may pass.
func TestChatFailures(t *testing.T) {
	t.Parallel()
	stream := "text/event-stream"
	half := `data: {"choices":[{"delta":{"content":"您"}}]}` + "\n\n"
	for name, x := range map[string]struct {
		step    ChatStep
		edit    func(*ChatOptions)
		stage   string
		again   bool
		code    string
		partial string
		whole   bool // ask with Complete, too
	}{
		"401":                 {step: ChatStep{Status: 401, Body: `{"error":{"message":"Incorrect API key sk-te****","type":"x","code":"invalid_api_key"}}`}, stage: StageAuth, code: "invalid_api_key", whole: true},
		"404":                 {step: ChatStep{Status: 404, Body: `{"detail":"Not Found"}`}, stage: StageFormat, whole: true},
		"429":                 {step: ChatStep{Status: 429, Body: `{"error":{"message":"slow down","code":"rate_limit_exceeded"}}`}, stage: StageQuota, again: true, code: "rate_limit_exceeded", whole: true},
		"429, no money":       {step: ChatStep{Status: 429, Body: `{"error":{"message":"pay","code":"insufficient_quota"}}`}, stage: StageQuota, code: "insufficient_quota", whole: true},
		"500":                 {step: ChatStep{Status: 500, Body: `oops`, ContentType: "text/plain"}, stage: StageServer, again: true, whole: true},
		"503":                 {step: ChatStep{Status: 503, Body: `{"message":"busy","code":1234}`}, stage: StageServer, again: true, code: "1234", whole: true},
		"HTML with 200":       {step: ChatStep{Body: `<html>您</html>`, ContentType: "text/html"}, stage: StageProtocol, again: true, whole: true},
		"error with 200":      {step: ChatStep{Body: `{"error":{"message":"m","type":"server_error"}}`}, stage: StageServer, again: true, code: "server_error", whole: true},
		"error as a text":     {step: ChatStep{Body: `{"error":"boom"}`}, stage: StageServer, again: true, whole: true},
		"no choices":          {step: ChatStep{Body: `{"choices":[]}`}, stage: StageProtocol, again: true, whole: true},
		"not JSON":            {step: ChatStep{Body: `{"choices":[{"mess`}, stage: StageProtocol, again: true, whole: true},
		"closed in the body":  {step: ChatStep{Text: strings.Repeat("您", 100), Cut: 200}, stage: StageRead, again: true, whole: true},
		"error mid-stream":    {step: ChatStep{Body: half + `data: {"error":{"message":"m","code":"overloaded"}}` + "\n\n", ContentType: stream}, stage: StageServer, again: true, code: "overloaded", partial: "您"},
		"garbage mid-stream":  {step: ChatStep{Body: half + "data: {{{\n\n", ContentType: stream}, stage: StageProtocol, again: true, partial: "您"},
		"ends without finish": {step: ChatStep{Body: half, ContentType: stream}, stage: StageRead, again: true, partial: "您"},
		"stalls":              {step: ChatStep{Body: half, ContentType: stream, Hang: true, Cut: len(half)}, edit: func(o *ChatOptions) { o.Stall = 50 * time.Millisecond }, stage: StageTimeout, again: true, partial: "您"},
		"no first word":       {step: ChatStep{Hang: true}, edit: func(o *ChatOptions) { o.First = 50 * time.Millisecond }, stage: StageTimeout, again: true},
		"too slow":            {step: ChatStep{Hang: true}, edit: func(o *ChatOptions) { o.Timeout = 100 * time.Millisecond }, stage: StageTimeout, again: true, whole: true},
		"too long a line":     {step: ChatStep{Body: "data: " + strings.Repeat("x", maxEvent+10), ContentType: stream}, stage: StageRead, again: true},
		"refused":             {edit: func(o *ChatOptions) { o.URL = "http://127.0.0.1:1" }, stage: StageDial, again: true, whole: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := chatWith(t, func(o *ChatOptions) {
				o.Retries = -1
				if x.edit != nil {
					x.edit(o)
				}
			}, always(x.step))
			_, err := c.Stream(t.Context(), hello, func(string) error { return nil })
			var e *ChatError
			if !errors.As(err, &e) || e.Stage != x.stage || e.Retryable != x.again || e.Code != x.code || e.Partial != x.partial {
				t.Errorf("streamed: %+v", err)
			}
			if e != nil && (strings.Contains(e.Error(), "您") || strings.Contains(e.Error(), "sk-te")) {
				t.Errorf("the error repeats the server's words: %v", e)
			}
			if !x.whole {
				return
			}
			if _, err = c.Complete(t.Context(), hello); !errors.As(err, &e) || e.Stage != x.stage || e.Retryable != x.again || e.Code != x.code {
				t.Errorf("whole: %+v", err)
			}
		})
	}
}

// TestChatRetries: what can pass is asked again, as the server says when.
func TestChatRetries(t *testing.T) {
	t.Parallel()
	c, s := chatWith(t, nil, func(n int, _ ChatSeen) ChatStep {
		switch n {
		case 0:
			return ChatStep{Status: 429, Header: map[string]string{"Retry-After": "0.01"}}
		case 1:
			return ChatStep{Status: 502, Header: map[string]string{"Retry-After": "0.01"}, Body: "<html>", ContentType: "text/html"}
		}
		return ChatStep{Text: "好"}
	})
	r, err := c.Complete(t.Context(), hello)
	if err != nil || r.Text != "好" || r.Finish != "stop" || r.In != 7 || r.Truncated() || len(s.Seen()) != 3 {
		t.Errorf("%+v %v after %d requests", r, err, len(s.Seen()))
	}
	if n, in, _ := c.Used(); n != 3 || in != 7 {
		t.Errorf("counted %d requests, %d tokens", n, in)
	}
	// A pause that is longer than the time left is not waited for; who asks learns how long it is.
	c, s = chatWith(t, nil, always(ChatStep{Status: 429, Header: map[string]string{"Retry-After": "3600"}}))
	_, err = c.Complete(t.Context(), hello)
	var e *ChatError
	if !errors.As(err, &e) || e.RetryAfter != time.Hour || len(s.Seen()) != 1 {
		t.Errorf("%+v after %d requests", err, len(s.Seen()))
	}
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for h, want := range map[string]time.Duration{"": 0, "x": 0, "-1": 0, "7": 7 * time.Second, now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): 0} {
		if got := retryAfter(h, now); got != want {
			t.Errorf("Retry-After %q is %v, want %v", h, got, want)
		}
	}
}

// TestChatFormats: an answer after a schema, from servers that know less and less.
func TestChatFormats(t *testing.T) {
	t.Parallel()
	for knows, want := range map[string][]string{"json_schema": {"json_schema", "json_schema"}, "json_object": {"json_schema", "json_object", "json_object"}, "none": {"json_schema", "json_object", "", ""}} {
		c, s := chatWith(t, nil, func(_ int, r ChatSeen) ChatStep {
			if r.Format != "" && r.Format != knows {
				return ChatStep{Status: 400, Body: `{"error":{"message":"response_format is not supported"}}`}
			}
			return ChatStep{Text: `{"a":1}`}
		})
		q := hello
		q.Schema = json.RawMessage(`{"type":"object"}`)
		for range 2 { // what was learnt is kept
			if r, err := c.Complete(t.Context(), q); err != nil || r.Text != `{"a":1}` {
				t.Fatalf("%s: %+v %v", knows, r, err)
			}
		}
		var got []string
		for _, r := range s.Seen() {
			got = append(got, r.Format)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: asked for %v, want %v", knows, got, want)
		}
	}
}

// TestChatRefusedQuestion: a question that is refused in every format, such as one too long, says nothing of formats.
func TestChatRefusedQuestion(t *testing.T) {
	t.Parallel()
	c, s := chatWith(t, nil, func(n int, _ ChatSeen) ChatStep {
		if n < 3 {
			return ChatStep{Status: 400, Body: `{"error":{"message":"context length exceeded"}}`}
		}
		return ChatStep{Text: `{"a":1}`}
	})
	q := hello
	q.Schema = json.RawMessage(`{"type":"object"}`)
	if _, err := c.Complete(t.Context(), q); err == nil {
		t.Fatal("no error")
	}
	if _, err := c.Complete(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if seen := s.Seen(); len(seen) != 4 || seen[3].Format != "json_schema" {
		t.Errorf("%+v", seen)
	}
}

func TestChatBody(t *testing.T) {
	t.Parallel()
	zero := 0.0
	c, s := chatWith(t, func(o *ChatOptions) {
		o.Temperature, o.MaxTokens, o.Headers = &zero, 50, map[string]string{"X-Title": "waihu"}
		o.Extra = map[string]any{"enable_thinking": false, "max_tokens": 60}
		o.Usage = true
	}, always(ChatStep{Tools: []ChatToolCall{{ID: "1", Name: "hangup", Arguments: "{}"}}}))
	q := ChatRequest{Messages: []ChatMessage{{Role: "user", Content: "再见"}, {Role: "assistant", ToolCalls: []ChatToolCall{{ID: "0", Name: "f", Arguments: `{"a":1}`}}}, {Role: "tool", ToolCallID: "0", Content: "ok"}},
		Tools: []ChatTool{{Name: "hangup", Parameters: json.RawMessage(`{"type":"object"}`)}}, ToolChoice: "auto"}
	r, err := c.Stream(t.Context(), q, func(string) error { return nil })
	if err != nil || r.Finish != "tool_calls" || len(r.ToolCalls) != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	b := s.Seen()[0].Body
	for path, want := range map[string]string{"temperature": "0", "max_tokens": "60", "enable_thinking": "false", "stream": "true", "tool_choice": "auto", "stream_options": "map[include_usage:true]"} {
		if got := fmt.Sprint(b[path]); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if got := fmt.Sprint(b["messages"].([]any)[1]); !strings.Contains(got, `arguments:{"a":1} name:f`) {
		t.Errorf("the tool call went as %s", got)
	}
	for _, o := range []ChatOptions{{Model: "m"}, {URL: "ftp://x", Model: "m"}, {URL: "http://x"}, {URL: "http://x", Model: "m", Format: "xml"}} {
		if _, err := NewChat(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

// TestChatCancel: who stops listening costs the server nothing more; and an error of the listener is what comes back.
func TestChatCancel(t *testing.T) {
	t.Parallel()
	c, s := chatWith(t, nil, always(ChatStep{Text: strings.Repeat("您", 50), Hang: true, Cut: 400}))
	left := s.Left()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.Stream(ctx, hello, func(string) error { cancel(); return nil })
	var e *ChatError
	if !errors.As(err, &e) || e.Stage != StageStopped || e.Retryable {
		t.Errorf("%+v", err)
	}
	select {
	case <-left:
	case <-time.After(time.Minute):
		t.Error("the server was not told")
	}
	left = s.Left()
	full := errors.New("full")
	if _, err := c.Stream(t.Context(), hello, func(string) error { return full }); !errors.Is(err, full) {
		t.Error(err)
	}
	select {
	case <-left:
	case <-time.After(time.Minute):
		t.Error("the server was not told")
	}
}

// TestChatGoAway: an HTTP/2 server that closes its connections after each answer (GOAWAY) is asked over new ones.
func TestChatGoAway(t *testing.T) {
	t.Parallel()
	s := &ChatServer{Script: always(ChatStep{Text: "好", Header: map[string]string{"Connection": "close"}})}
	far := httptest.NewUnstartedServer(s)
	far.EnableHTTP2 = true
	far.StartTLS()
	defer far.Close()
	c, err := NewChat(ChatOptions{URL: far.URL, Model: "m", Client: far.Client()})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if r, err := c.Stream(t.Context(), hello, func(string) error { return nil }); err != nil || r.Text != "好" {
			t.Fatalf("%+v %v", r, err)
		}
	}
}

// TestChatServer: the far end refuses what breaks the protocol.
func TestChatServer(t *testing.T) {
	t.Parallel()
	s := &ChatServer{Script: always(ChatStep{Text: "x"}), Key: "k"}
	far := httptest.NewServer(s)
	defer far.Close()
	for i, x := range []struct{ path, kind, key, body string }{
		{"/chat", "application/json", "k", "{}"}, {"/chat/completions", "text/plain", "k", "{}"}, {"/chat/completions", "application/json", "", "{}"},
		{"/chat/completions", "application/json", "k", "{"}, {"/chat/completions", "application/json", "k", `{"model":"m","messages":[]}`},
		{"/chat/completions", "application/json", "k", `{"model":"m","messages":[{"role":"robot","content":"x"}]}`},
		{"/chat/completions", "application/json", "k", `{"model":"m","messages":[{"role":"tool","content":"x"}]}`},
		{"/chat/completions", "application/json", "k", `{"model":"m","messages":[{"role":"user"}]}`},
		{"/chat/completions", "application/json", "k", `{"model":"m","messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema"}}`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, far.URL+x.path, strings.NewReader(x.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", x.kind)
		req.Header.Set("Authorization", "Bearer "+x.key)
		resp, err := far.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest || len(s.Breaches()) != i+1 {
			t.Errorf("%+v was answered with %d", x, resp.StatusCode)
		}
	}
}
