package main

import (
	"io"
	"net/http"
	"time"
)

// How much of a body that its handler refused is still taken, and for how long.
const (
	lingerBytes = 256 << 20
	lingerTime  = 10 * time.Second
)

// lingering reads what a handler has left of a body before the connection may close. A client that sends
// all before it reads would else find a reset connection and never the answer that says what was wrong.
func lingering(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			h.ServeHTTP(w, r)
			return
		}
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex() // else the body is closed with the answer's first byte; HTTP/1 always can
		body := &readBody{ReadCloser: r.Body}
		r.Body = body
		h.ServeHTTP(w, r)
		if !body.begun && r.Header.Get("Expect") != "" {
			return // the client still waits to be asked for it
		}
		if control.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
			_, _ = io.CopyN(io.Discard, body, lingerBytes)
			_ = control.SetReadDeadline(time.Time{})
		}
	})
}

// readBody knows whether anybody has asked for the body.
type readBody struct {
	io.ReadCloser
	begun bool
}

func (b *readBody) Read(p []byte) (int, error) {
	b.begun = true
	return b.ReadCloser.Read(p)
}
