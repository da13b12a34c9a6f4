package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// vendorClient speaks the 云蝠 API to a server, as a customer's program would: the demo goes through
// the front door.
type vendorClient struct {
	base, user, token string
}

// do sends body as JSON and decodes the envelope's data into data (nil: not wanted).
func (c *vendorClient) do(ctx context.Context, method, path string, body, data any) error {
	var r io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, r)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var envelope struct {
		Code    int             `json:"code"`
		Status  string          `json:"status"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(res.Body).Decode(&envelope); err != nil {
		return fmt.Errorf("%s %s: %s: %w", method, path, res.Status, err)
	}
	if envelope.Status != "success" {
		return fmt.Errorf("%s %s: %d %s", method, path, envelope.Code, envelope.Message)
	}
	if data == nil {
		return nil
	}
	return json.Unmarshal(envelope.Data, data)
}

// newTask creates a task that dials for a day on one line.
func (c *vendorClient) newTask(ctx context.Context, name, agent, line string, hours, concurrency int, start, stop string) (string, error) {
	var made struct {
		UUID string `json:"uuid"`
	}
	err := c.do(ctx, http.MethodPost, "/agent-api/new/user/"+c.user+"/task", map[string]any{
		"name": name, "destination_extension": agent, "dial_time_id": hours, "maximumcall": concurrency, "task_type": 7, "end_action": 1,
		"task_extras": map[string]any{
			"start_time": start, "stop_time": stop, "holiday": []any{}, "pop_mode": 1,
			"line": []any{map[string]any{"id": line, "limit": concurrency}},
		},
	}, &made)
	return made.UUID, err
}

// addNumbers imports phones, a hundred at a time as the API allows.
func (c *vendorClient) addNumbers(ctx context.Context, task string, rows []map[string]any) error {
	for len(rows) > 0 {
		n := min(100, len(rows))
		if err := c.do(ctx, http.MethodPost, "/agent-api/user/"+c.user+"/task/"+task+"/number", map[string]any{"data": rows[:n]}, nil); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

func (c *vendorClient) startTask(ctx context.Context, task string) error {
	return c.do(ctx, http.MethodPut, "/agent-api/new/user/"+c.user+"/task_start/"+task, nil, nil)
}
