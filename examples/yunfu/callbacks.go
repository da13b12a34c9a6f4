package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// call is what the integration uses of a call in a callback.
type call struct {
	ID        string `json:"callid"`
	Answer    string `json:"answerdate"`
	Bill      int    `json:"bill"`
	Intention int    `json:"intention_results"`
	Number    struct {
		Number string `json:"number"`
	} `json:"number_data"`
	Task struct {
		ID string `json:"id"`
	} `json:"task"`
	Record string `json:"record_url"`
}

// callbacks are those that arrived.
type callbacks struct {
	mu    sync.Mutex
	pings chan struct{} // something arrived
	calls map[string]call
	files map[string]string // addresses of numbers by unique_id
	posts int
	again int // calls that arrived more than once: a delivery may be repeated
	wrong []string
}

// hear takes callbacks until the program ends.
func (c *client) hear(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	c.heard = &callbacks{pings: make(chan struct{}, 1), calls: map[string]call{}, files: map[string]string{}}
	go http.Serve(l, c.heard) // ends with the program
	return nil
}

func (h *callbacks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return // it comes again
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.posts++
	if err := h.take(raw); err != nil {
		h.wrong = append(h.wrong, fmt.Sprintf("%v: %.200s", err, raw))
	}
	select {
	case h.pings <- struct{}{}:
	default:
	}
}

func (h *callbacks) take(raw []byte) error {
	var body struct {
		Count *int            `json:"count"`
		Type  string          `json:"type"`
		Mode  string          `json:"mode"`
		ID    string          `json:"unique_id"`
		Data  json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return err
	}
	switch {
	case body.Count != nil:
		var list []call
		if err := json.Unmarshal(body.Data, &list); err != nil {
			return err
		}
		if len(list) != *body.Count || len(list) == 0 {
			return fmt.Errorf("count says %d, there are %d", *body.Count, len(list))
		}
		for _, k := range list {
			if _, known := h.calls[k.ID]; known {
				h.again++
			}
			h.calls[k.ID] = k
		}
	case body.Type == "import_number" && body.Mode == "batch":
		var file struct {
			URL string `json:"url"`
		}
		if err := json.Unmarshal(body.Data, &file); err != nil {
			return err
		}
		h.files[body.ID] = file.URL
	case body.Type == "":
		return fmt.Errorf("neither count nor type")
	}
	return nil
}

// compare holds the callbacks against what the API says: every call once and no other, every answered one with its record, and
// every import with its numbers.
func (c *client) compare(ctx context.Context, own string, batches map[string]int, numbers int) error {
	var calls []struct {
		ID     string `json:"callid"`
		Callee string `json:"callee"`
		Answer string `json:"answerdate"`
		Bill   int    `json:"bill"`
	}
	if err := c.do(ctx, "GET", own+"/record?page=1&per_page=1000", nil, &calls); err != nil {
		return err
	}
	h := c.heard
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.calls) < len(calls) || len(h.files) < len(batches) {
		h.mu.Unlock()
		var err error
		select {
		case <-h.pings:
		case <-time.After(20 * time.Second):
			err = fmt.Errorf("no callback for 20 s")
		case <-ctx.Done():
			err = ctx.Err()
		}
		h.mu.Lock()
		if err != nil {
			return fmt.Errorf("%w: %d of %d calls and %d of %d imports were told", err, len(h.calls), len(calls), len(h.files), len(batches))
		}
	}
	if len(h.wrong) > 0 {
		return fmt.Errorf("%d callbacks are not as documented: %s", len(h.wrong), h.wrong[0])
	}
	answered := 0
	for _, k := range calls {
		told, ok := h.calls[k.ID]
		if !ok || told.Number.Number != k.Callee || told.Answer != k.Answer || told.Bill != k.Bill || !strings.Contains(own, told.Task.ID) {
			return fmt.Errorf("call %s is %+v in the list and %+v in the callback", k.ID, k, told)
		}
		if k.Answer == "" {
			continue
		}
		answered++
		if told.Record == "" {
			return fmt.Errorf("the callback of answered call %s names no recording", k.ID)
		}
	}
	if len(h.calls) != len(calls) {
		return fmt.Errorf("%d calls were told, the list has %d", len(h.calls), len(calls))
	}
	var all []string
	for id, want := range batches {
		list, err := fetchNumbers(ctx, h.files[id])
		if err != nil {
			return err
		}
		if len(list) != want {
			return fmt.Errorf("the file of import %s has %d numbers, want %d", id, len(list), want)
		}
		all = append(all, list...)
	}
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != numbers {
		return fmt.Errorf("the files name %d numbers, want %d", n, numbers)
	}
	fmt.Fprintf(c.out, "callbacks: %d posts told %d calls, %d of them answered, and %d imports; %d calls were told again\n", h.posts, len(calls), answered, len(batches), h.again)
	return nil
}

func fetchNumbers(ctx context.Context, address string) ([]string, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", address, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var file struct {
		Numbers []string `json:"numbers"`
	}
	return file.Numbers, json.NewDecoder(res.Body).Decode(&file)
}
