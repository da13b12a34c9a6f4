package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// socketName is the unix socket in the data folder by which the command line talks to a running server.
// Who may open the folder (0700) may do what the operator may.
const socketName = "waihu.sock"

// maxSocketPath is the length of sockaddr_un's path without its final zero.
const maxSocketPath = 107

// message is one line of an operation's answer. Exactly one of the fields is set,
// except Progress, which comes with Of when the whole is known.
type message struct {
	Say      string `json:"say,omitempty"`      // a line for the user
	Progress int64  `json:"progress,omitempty"` // work done
	Of       int64  `json:"of,omitempty"`       // work in all, 0 when not known
	Error    string `json:"error,omitempty"`    // it failed; nothing more follows
	Done     bool   `json:"done,omitempty"`     // it succeeded; nothing more follows
}

// operation does one thing for the command line, telling its progress by say.
type operation func(ctx context.Context, q url.Values, body io.Reader, tell func(message)) error

// errInterrupted is what becomes of an operation that was cancelled and has nothing better to say.
var errInterrupted = errors.New("interrupted")

// adminHandler serves the operations, each as POST /name with a stream of messages as the answer. One that came
// with an id is ended by POST /cancel with the same id, and can then still say how far it got.
func adminHandler(ops map[string]operation) http.Handler {
	var mu sync.Mutex
	running := map[string]context.CancelFunc{}
	mux := http.NewServeMux()
	for name, op := range ops {
		mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/x-ndjson")
			rc := http.NewResponseController(w)
			_ = rc.EnableFullDuplex() // progress goes out while the body still comes in
			enc := json.NewEncoder(w)
			tell := func(m message) {
				_ = enc.Encode(m) // a client that left cancels r.Context
				_ = rc.Flush()
			}
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			id := r.URL.Query().Get("id")
			mu.Lock()
			running[id] = cancel
			mu.Unlock()
			err := op(ctx, r.URL.Query(), r.Body, tell)
			mu.Lock()
			delete(running, id)
			mu.Unlock()
			switch {
			case err == nil:
				tell(message{Done: true})
			case errors.Is(err, context.Canceled):
				tell(message{Error: errInterrupted.Error()})
			default:
				tell(message{Error: err.Error()})
			}
		})
	}
	mux.HandleFunc("POST /cancel", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if cancel := running[r.URL.Query().Get("id")]; cancel != nil {
			cancel()
		}
	})
	return mux
}

// drained reads what a handler left of its body. net/http cannot end a full-duplex request otherwise: it meets its own
// background read and panics. The client leaves as soon as it has the answer, which ends the reading.
func drained(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		_, _ = io.Copy(io.Discard, r.Body)
	})
}

// listenAdmin opens the socket in the data folder. A socket left by a killed process is
// replaced; the folder's lock, held by then, says that no other server is alive.
func listenAdmin(data string) (net.Listener, error) {
	path := filepath.Join(data, socketName)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path of the data folder is too long: %s would have %d letters, and the kernel takes %d for a socket: choose a shorter --data", path, len(path), maxSocketPath)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("replacing the old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("opening the command socket: %w", err)
	}
	return l, os.Chmod(path, 0o600)
}

// adminClient talks to the server that runs on the data folder; ok is false when none does.
func adminClient(data string) (client *http.Client, ok bool) {
	path := filepath.Join(data, socketName)
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return nil, false
	}
	conn.Close()
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}, true
}

// handlerTransport runs a handler in this process as if it were behind a socket, so that the
// command line does the same with and without a running server.
type handlerTransport struct{ handler http.Handler }

func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	pr, pw := io.Pipe()
	w := &pipeWriter{PipeWriter: pw, header: http.Header{}}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	go func() { // ends with the handler; the reader of Body sees its end
		t.handler.ServeHTTP(w, r)
		pw.Close()
	}()
	return &http.Response{StatusCode: http.StatusOK, Header: w.header, Body: pr, Request: r}, nil
}

type pipeWriter struct {
	*io.PipeWriter
	header http.Header
}

func (w *pipeWriter) Header() http.Header { return w.header }
func (w *pipeWriter) WriteHeader(int)     {}
func (w *pipeWriter) Flush()              {}

// perform asks for an operation and hands its messages to on until it is done or failed. The first of signals
// cancels the operation, which then says how far it got; the second leaves it.
func perform(ctx context.Context, client *http.Client, signals <-chan os.Signal, name string, q url.Values, body io.Reader, on func(message)) error {
	if body == nil {
		body = bytes.NewReader(nil)
	}
	ctx, leave := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer leave()
	id := rand.Text()
	q.Set("id", id)
	watching.Go(func() {
		select {
		case <-signals:
			cancelOperation(ctx, client, id)
		case <-ctx.Done():
			return
		}
		select {
		case <-signals:
			leave()
		case <-ctx.Done():
		}
	})
	u := "http://waihu/" + name + "?" + q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u, body)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return errInterrupted
		}
		return fmt.Errorf("asking the server: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the running server does not know %q (it answered %s): is it an older version?", name, res.Status)
	}
	dec := json.NewDecoder(res.Body)
	for {
		var m message
		switch err := dec.Decode(&m); {
		case err != nil && ctx.Err() != nil:
			return errInterrupted
		case errors.Is(err, io.EOF):
			return errors.New("the server went away before the work was done")
		case err != nil:
			return fmt.Errorf("reading the server's answer: %w", err)
		case m.Error != "":
			return errors.New(m.Error)
		case m.Done:
			return nil
		default:
			on(m)
		}
	}
}

func cancelOperation(ctx context.Context, client *http.Client, id string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://waihu/cancel?id="+id, nil)
	if err != nil {
		return // our own address parses
	}
	if res, err := client.Do(req); err == nil { // else the server is gone, and perform sees that
		res.Body.Close()
	}
}
