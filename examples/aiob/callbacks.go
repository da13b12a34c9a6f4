package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
)

// call is what the integration uses of a call, in callbacks 0 and 3 and in the reads.
type call struct {
	SessionID      string `json:"sessionId"`
	TaskID         string `json:"taskId"`
	MemberID       int64  `json:"memberId"`
	Mobile         string `json:"mobile"`
	EndType        int    `json:"endType"`
	EndTypeReason  string `json:"endTypeReason"`
	CallType       int    `json:"callType"`
	ContactUUID    string `json:"contactUUID"`
	TalkingTimeLen int    `json:"talkingTimeLen"`
	ExtJSON        string `json:"extJson"`
}

// member is callback 1.
type member struct {
	ID         string `json:"taskMemberId"`
	Status     int    `json:"status"`
	Finished   int    `json:"finished"`
	TotalTimes int    `json:"totalTimes"`
	ExtJSON    string `json:"extJson"`
}

// change is callback 2.
type change struct {
	TaskID string `json:"taskId"`
	Status int    `json:"taskStatus"`
	Reason string `json:"reason"`
}

// callbacks are those that arrived. A delivery may be repeated, so each is kept under its id.
type callbacks struct {
	mu       sync.Mutex
	changed  chan struct{}
	calls    map[string]call
	finished map[string]member
	states   map[string]string // reasons by task, in order
	realtime map[int64]call
	wrong    []string
}

// hear takes callbacks until the program ends.
func hear(addr string) (*callbacks, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	b := &callbacks{changed: make(chan struct{}, 1), calls: map[string]call{}, finished: map[string]member{}, states: map[string]string{}, realtime: map[int64]call{}}
	go http.Serve(l, b) // ends with the program
	return b, nil
}

// wait returns when what is asked for has arrived.
func (b *callbacks) wait(ctx context.Context, done func() bool) error {
	for {
		b.mu.Lock()
		ok := done()
		b.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-b.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *callbacks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Type *int            `json:"callbackType"`
		Data json.RawMessage `json:"data"`
	}
	err := json.NewDecoder(r.Body).Decode(&body)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil && body.Type != nil {
		err = b.take(*body.Type, body.Data)
	}
	if err != nil {
		b.wrong = append(b.wrong, err.Error())
	}
	select {
	case b.changed <- struct{}{}:
	default:
	}
	fmt.Fprint(w, `{"code":200,"msg":"success"}`)
}

func (b *callbacks) take(kind int, data json.RawMessage) error {
	switch kind {
	case 0, 3:
		var c call
		if err := json.Unmarshal(data, &c); err != nil {
			return err
		}
		if (kind == 3) != (c.CallType == 3) || c.SessionID == "" || (c.EndType == 1) != (c.EndTypeReason == "success") {
			return fmt.Errorf("call %+v", c)
		}
		if kind == 3 {
			b.realtime[c.MemberID] = c
		} else {
			b.calls[c.SessionID] = c
		}
	case 1:
		var m member
		if err := json.Unmarshal(data, &m); err != nil {
			return err
		}
		b.finished[m.ID] = m
	case 2:
		var c change
		if err := json.Unmarshal(data, &c); err != nil {
			return err
		}
		if b.states[c.TaskID] != "" {
			b.states[c.TaskID] += ","
		}
		b.states[c.TaskID] += c.Reason
	default:
		return fmt.Errorf("callbackType %d", kind)
	}
	return nil
}
