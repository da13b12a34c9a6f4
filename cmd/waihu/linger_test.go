package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A client that sends all of a huge body before it reads gets the answer, and the connection goes on.
func TestHugeBodyIsAnswered(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(lingering(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, 1000)); err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			_, _ = io.WriteString(w, "too large")
			return
		}
		_, _ = io.WriteString(w, "ok")
	})))
	t.Cleanup(s.Close)
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(slow * 30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	for _, k := range []struct {
		size int
		want string
	}{{20 << 20, "too large"}, {10, "ok"}, {0, "ok"}} {
		if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", k.size, strings.Repeat("a", k.size)); err != nil {
			t.Fatalf("the connection was closed under a body of %d bytes: %v", k.size, err)
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("no answer to a body of %d bytes: %v", k.size, err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || string(body) != k.want {
			t.Errorf("a body of %d bytes: %d %q, %v", k.size, res.StatusCode, body, err)
		}
	}
}
