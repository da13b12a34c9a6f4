package speech

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// ChatServer is a scripted server of the OpenAI-compatible kind: the far end of Chat in tests, benchmarks and demonstrations. It
// checks what clients send and answers as its script says. It is an http.Handler and safe for concurrent use.
type ChatServer struct {
	// Script is asked for each request, n counting from 0 in order of arrival.
	Script func(n int, r ChatSeen) ChatStep
	// Key is what clients must send as Bearer; empty: anything.
	Key string

	mu       sync.Mutex
	seen     []ChatSeen
	breaches []string
	left     chan struct{} // closed and renewed when a client goes away before its answer is over
}

// ChatSeen is a request as it came.
type ChatSeen struct {
	Model    string
	Messages []ChatMessage
	Stream   bool
	Format   string          // response_format.type, "" when absent
	Schema   json.RawMessage // of a json_schema format
	Body     map[string]any
	At       time.Time
}

// ChatStep is one answer, and what goes wrong with it.
type ChatStep struct {
	Status int // default 200
	Header map[string]string
	// Text is the answer, as a completion or, when the client asked for it, in pieces of Piece characters (default 4).
	Text   string
	Finish string // default stop; "-" leaves it out
	Tools  []ChatToolCall
	Piece  int
	// Body is sent instead, as it is, with ContentType (default application/json).
	Body        string
	ContentType string

	Delay  time.Duration // before the first byte
	Hang   bool          // says nothing more after Cut bytes (0: from the start) until the client goes away
	Cut    int           // the connection is closed after so many bytes of the body
	Split  int           // bytes per write, each flushed; 0: all at once
	Gzip   bool          // compressed although it may not have been asked for
	NoDone bool          // a stream without [DONE]
	CRLF   bool          // line ends of a stream
}

// Seen are the requests so far.
func (s *ChatServer) Seen() []ChatSeen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]ChatSeen(nil), s.seen...)
}

// Breaches are what clients did that the protocol does not allow.
func (s *ChatServer) Breaches() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.breaches...)
}

// Left is closed when the next client goes away before its answer is over.
func (s *ChatServer) Left() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == nil {
		s.left = make(chan struct{})
	}
	return s.left
}

func (s *ChatServer) gone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left != nil {
		close(s.left)
		s.left = nil
	}
}

func (s *ChatServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seen, breach := s.read(r)
	s.mu.Lock()
	n := len(s.seen)
	s.seen = append(s.seen, seen)
	if breach != "" {
		s.breaches = append(s.breaches, fmt.Sprintf("request %d: %s", n, breach))
	}
	s.mu.Unlock()
	if breach != "" {
		http.Error(w, `{"error":{"message":"`+breach+`","type":"invalid_request_error","code":"breach"}}`, http.StatusBadRequest)
		return
	}
	step := s.Script(n, seen)
	if step.Delay > 0 {
		t := time.NewTimer(step.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.Context().Done():
			s.gone()
			return
		}
	}
	body, kind := step.body(seen)
	for k, v := range step.Header {
		w.Header().Set(k, v)
	}
	w.Header().Set("Content-Type", kind)
	if step.Gzip {
		w.Header().Set("Content-Encoding", "gzip")
		var z strings.Builder
		g := gzip.NewWriter(&z)
		_, _ = io.WriteString(g, body) // into memory
		_ = g.Close()
		body = z.String()
	}
	if step.Status != 0 {
		w.WriteHeader(step.Status)
	}
	if step.Cut > 0 || step.Hang {
		body = body[:min(len(body), step.Cut)]
	}
	s.write(w, body, step.Split)
	switch {
	case step.Hang:
		<-r.Context().Done()
		s.gone()
	case step.Cut > 0:
		panic(http.ErrAbortHandler) // closes without the end that the transfer coding wants
	case r.Context().Err() != nil:
		s.gone()
	}
}

func (s *ChatServer) write(w http.ResponseWriter, body string, split int) {
	flusher, _ := w.(http.Flusher)
	if split <= 0 {
		split = len(body)
	}
	for len(body) > 0 {
		n := min(split, len(body))
		if _, err := io.WriteString(w, body[:n]); err != nil {
			return
		}
		if flusher != nil {
			flusher.Flush()
		}
		body = body[n:]
	}
	if flusher != nil {
		flusher.Flush()
	}
}

// read checks a request.
func (s *ChatServer) read(r *http.Request) (seen ChatSeen, breach string) {
	seen.At = time.Now()
	switch {
	case r.Method != http.MethodPost:
		return seen, "POST was expected"
	case !strings.HasSuffix(r.URL.Path, "/chat/completions"):
		return seen, "the path does not end in /chat/completions"
	case r.Header.Get("Content-Type") != "application/json":
		return seen, "Content-Type application/json was expected"
	case s.Key != "" && r.Header.Get("Authorization") != "Bearer "+s.Key:
		return seen, "the key is missing or wrong"
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxChat))
	if err != nil {
		return seen, "the body could not be read"
	}
	var w struct {
		Model    string `json:"model"`
		Messages []struct {
			Role       string            `json:"role"`
			Content    *string           `json:"content"`
			ToolCalls  []json.RawMessage `json:"tool_calls"`
			ToolCallID string            `json:"tool_call_id"`
		} `json:"messages"`
		Stream bool `json:"stream"`
		Format struct {
			Type   string `json:"type"`
			Schema struct {
				Name   string          `json:"name"`
				Schema json.RawMessage `json:"schema"`
			} `json:"json_schema"`
		} `json:"response_format"`
	}
	if json.Unmarshal(raw, &w) != nil || json.Unmarshal(raw, &seen.Body) != nil {
		return seen, "the body is not JSON of the right types"
	}
	seen.Model, seen.Stream, seen.Format, seen.Schema = w.Model, w.Stream, w.Format.Type, w.Format.Schema.Schema
	if w.Model == "" || len(w.Messages) == 0 {
		return seen, "model or messages are missing"
	}
	for i, m := range w.Messages {
		if m.Content == nil && len(m.ToolCalls) == 0 {
			return seen, fmt.Sprintf("message %d has no content", i)
		}
		switch m.Role {
		case "system", "developer", "user", "assistant":
		case "tool":
			if m.ToolCallID == "" {
				return seen, fmt.Sprintf("message %d of a tool has no tool_call_id", i)
			}
		default:
			return seen, fmt.Sprintf("message %d has the role %q", i, m.Role)
		}
		x := ChatMessage{Role: m.Role, ToolCallID: m.ToolCallID}
		if m.Content != nil {
			x.Content = *m.Content
		}
		seen.Messages = append(seen.Messages, x)
	}
	if w.Format.Type == "json_schema" && (w.Format.Schema.Name == "" || len(w.Format.Schema.Schema) == 0) {
		return seen, "json_schema without name or schema"
	}
	return seen, ""
}

func (st *ChatStep) body(seen ChatSeen) (body, kind string) {
	finish := st.Finish
	switch {
	case st.Body != "" || st.Status >= 300 && st.Text == "":
		kind = st.ContentType
		if kind == "" {
			kind = "application/json"
		}
		return st.Body, kind
	case finish == "" && len(st.Tools) > 0:
		finish = "tool_calls"
	case finish == "":
		finish = "stop"
	}
	encode := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic("speech: a scripted answer cannot be encoded: " + err.Error())
		}
		return string(b)
	}
	ended := any(finish)
	if finish == "-" {
		ended = nil
	}
	usage := map[string]any{"prompt_tokens": 7, "completion_tokens": len([]rune(st.Text)), "total_tokens": 7 + len([]rune(st.Text))}
	if !seen.Stream {
		message := map[string]any{"role": "assistant", "content": st.Text}
		if len(st.Tools) > 0 {
			message["tool_calls"] = st.Tools
		}
		return encode(map[string]any{"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": seen.Model, "usage": usage,
			"choices": []any{map[string]any{"index": 0, "message": message, "finish_reason": ended}}}), "application/json"
	}
	eol := "\n"
	if st.CRLF {
		eol = "\r\n"
	}
	var b strings.Builder
	event := func(delta map[string]any, finish any) {
		b.WriteString("data: " + encode(map[string]any{"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": seen.Model,
			"choices": []any{map[string]any{"index": 0, "delta": delta, "finish_reason": finish}}}) + eol + eol)
	}
	event(map[string]any{"role": "assistant"}, nil)
	piece := max(1, st.Piece)
	if st.Piece == 0 {
		piece = 4
	}
	for text := []rune(st.Text); len(text) > 0; {
		n := min(piece, len(text))
		event(map[string]any{"content": string(text[:n])}, nil)
		text = text[n:]
	}
	for i, t := range st.Tools {
		call := map[string]any{"index": i, "id": t.ID, "type": "function", "function": map[string]any{"name": t.Name, "arguments": ""}}
		event(map[string]any{"tool_calls": []any{call}}, nil)
		for args := []rune(t.Arguments); len(args) > 0; {
			n := min(3, len(args))
			event(map[string]any{"tool_calls": []any{map[string]any{"index": i, "function": map[string]any{"arguments": string(args[:n])}}}}, nil)
			args = args[n:]
		}
	}
	if ended != nil {
		event(map[string]any{}, ended)
	}
	b.WriteString("data: " + encode(map[string]any{"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": []any{}, "usage": usage}) + eol + eol)
	if !st.NoDone {
		b.WriteString("data: [DONE]" + eol + eol)
	}
	return b.String(), "text/event-stream"
}
