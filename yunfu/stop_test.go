package yunfu

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
)

// TestStopSamples sends the stop request of every language's sample as its library puts it on the wire, headers and all, over a
// real connection, and again once the task is stopped: the answer is the page's.
func TestStopSamples(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := httptest.NewServer(w.door)
	t.Cleanup(server.Close)
	want := tree(t, []byte(`{"status":"success","code":200,"message":"停止任务成功"}`))
	path := new2 + "/task_stop/" + taskID
	const auth = "Authorization: Bearer " + token + "\r\n"
	for name, rest := range map[string]string{
		"curl":   "User-Agent: curl/8.5.0\r\nAccept: */*\r\n" + auth + "Content-Type: application/json\r\n\r\n",
		"Go":     "User-Agent: Go-http-client/1.1\r\nContent-Length: 0\r\n" + auth + "Content-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n",
		"axios":  "Accept: application/json, text/plain, */*\r\nContent-Type: application/json\r\n" + auth + "User-Agent: axios/1.7.2\r\nContent-Length: 2\r\nAccept-Encoding: gzip, compress, deflate, br\r\nConnection: keep-alive\r\n\r\n{}",
		"Java":   "Connection: Upgrade, HTTP2-Settings\r\nContent-Length: 0\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\nUser-Agent: Java-http-client/17.0.10\r\n" + auth + "Content-Type: application/json\r\n\r\n",
		"PHP":    "Accept: */*\r\nContent-Type: application/json\r\n" + auth + "\r\n",
		"Python": "User-Agent: python-requests/2.32.3\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n" + auth + "Content-Length: 0\r\n\r\n",
		"C++":    "Accept: */*\r\nContent-Type: application/json\r\n" + auth + "\r\n",
	} {
		_, err := w.StartTask(t.Context(), mainUser, taskID)
		w.must(err)
		for _, state := range []string{"started", "stopped"} {
			if got := exchange(t, server.Listener.Addr().String(), "PUT "+path+" HTTP/1.1\r\nHost: ai.api.longlonglong.cn\r\n"+rest); !reflect.DeepEqual(tree(t, []byte(got)), want) {
				t.Errorf("%s, %s task: %s", name, state, got)
			}
		}
		if k, err := w.Task(t.Context(), mainUser, taskID); err != nil || k.Started {
			t.Errorf("%s: the task is started, %v", name, err)
		}
	}
}

// exchange sends bytes and returns the body of the answer.
func exchange(t *testing.T, address, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		t.Errorf("%s, %v", res.Status, err)
	}
	return string(body)
}
