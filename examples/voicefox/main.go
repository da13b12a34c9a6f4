// Command voicefox is an integration against VoiceFox's open API, written from the vendor's pages and, where those end, from
// docs/voicefox-compatibility.md: it makes an assistant and a task, imports a file of numbers, lets them be called, is told of
// every call, reads the calls and cleans up.
//
//	go run ./examples/voicefox -base http://127.0.0.1:8080 -token TOKEN
//
// The server must be allowed to call the receiver that it opens here: waihu serve --callback-allow 127.0.0.1/32.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c := client{out: os.Stdout}
	flag.StringVar(&c.base, "base", "http://127.0.0.1:8080", "`address` of the API")
	flag.StringVar(&c.token, "token", "", "bearer `token`")
	numbers := flag.Int("numbers", 40, "how many numbers to call")
	flag.Parse()
	if err := c.campaign(ctx, *numbers); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type client struct {
	base, token string
	out         io.Writer
}

type object map[string]any

// do sends a request and reads the bare object of the answer into out.
func (c *client) do(ctx context.Context, method, path string, body, out any) error {
	var sent io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(raw)
	}
	return c.send(ctx, method, path, "application/json", sent, out)
}

func (c *client) send(ctx context.Context, method, path, contentType string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s %s", method, path, res.Status, raw)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(raw, out)
}

// task is what the integration uses of the vendor's task object.
type task struct {
	ID             int64  `json:"id"`
	Status         string `json:"status"`
	Total          int    `json:"total"`
	Progress       int    `json:"progress"`
	CollectionRate int    `json:"collectionRate"`
	AssistantVid   int64  `json:"assistantVid"`
	Summary        string `json:"summary"`
}

// event is a webhook of the vendor's.
type event struct {
	Name string `json:"event_name"`
	Data struct {
		SessionID string            `json:"session_id"`
		TaskID    int64             `json:"task_id"`
		Reason    string            `json:"hangup_reason"`
		RecordURL string            `json:"record_url"`
		Extra     map[string]string `json:"extra"`
		Targets   []target          `json:"collect_targets"`
		Overview  []struct {
			Question string `json:"question"`
			Results  []struct {
				Result  string `json:"result"`
				Total   int    `json:"total"`
				Percent string `json:"percent"`
			} `json:"results"`
		} `json:"task_overview"`
		Progress struct {
			Total    int `json:"total_num"`
			Called   int `json:"called_num"`
			Answered int `json:"called_answered_num"`
			Pending  int `json:"pending_num"`
		} `json:"task_progress"`
	} `json:"event_data"`
}

// target is what a call gave to one of the assistant's questions.
type target struct {
	Question string `json:"question"`
	Hit      bool   `json:"hit"`
	Result   string `json:"result"`
}

const webhookSecret = "Bearer receiver"

// receive opens a receiver of webhooks on this machine and returns its address.
func (c *client) receive(ctx context.Context) (string, <-chan event, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	events := make(chan event, 1000)
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e event
		if r.Header.Get("Authorization") != webhookSecret || json.NewDecoder(r.Body).Decode(&e) != nil {
			http.Error(w, "not for us", http.StatusUnauthorized)
			return
		}
		select {
		case events <- e:
		default: // the vendor sends it again
			http.Error(w, "busy", http.StatusServiceUnavailable)
		}
	})}
	go func() { _ = server.Serve(l) }() // until the process ends
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return "http://" + l.Addr().String() + "/voicefox", events, nil
}

func (c *client) campaign(ctx context.Context, numbers int) error {
	receiver, events, err := c.receive(ctx)
	if err != nil {
		return err
	}
	var hook struct {
		ID int64 `json:"id"`
	}
	if err := c.do(ctx, "POST", "/openapi/webhooks", object{"url": receiver, "authorization": webhookSecret}, &hook); err != nil {
		return err
	}
	var callers struct {
		Items []struct {
			ID     int64  `json:"id"`
			Number string `json:"number"`
		} `json:"items"`
	}
	if err := c.do(ctx, "GET", "/openapi/numbers", nil, &callers); err != nil {
		return err
	}
	if len(callers.Items) == 0 {
		return fmt.Errorf("the workspace needs a line with a caller number")
	}
	var assistant struct {
		ID        int64 `json:"id"`
		VersionID int64 `json:"versionId"`
	}
	if err := c.do(ctx, "POST", "/openapi/assistants", object{"name": "收货回访", "scene": "outbound_collect", "welcome": "{{name|您}}好，请问货物完好吗？",
		"intents": object{"fine": object{"any": []string{"完好", "没问题"}, "dtmf": "1"}},
		"collect": []object{{"question": "货物是否完好", "answers": []string{"完好", "破损"}, "key": "goods"}},
		"flow": object{"start": "ask", "nodes": object{
			"ask": object{"branches": []object{{"on": "fine", "tag": "完好", "do": []object{{"set": object{"goods": "完好"}}}, "go": "bye"}}, "else": object{"times": 1, "say": "没听清，完好请按一。", "then": "bye"}},
			"bye": object{"say": "再见。", "do": []string{"hangup"}}}}}, &assistant); err != nil {
		return err
	}
	var k task
	if err := c.do(ctx, "POST", "/openapi/tasks", object{"name": "接口示例 " + time.Now().Format(time.DateTime), "assistantVid": assistant.VersionID, "category": "assistant",
		"option": object{"numberFileMeta": object{"号码": 1, "姓名": 0}, "numbers": []int64{callers.Items[0].ID}, "startDate": time.Now().AddDate(0, 0, -1).Format(time.DateOnly),
			"startTime": [][]string{{"00:00", "24:00"}}, "retryCount": 0, "retryInterval": 60}}, &k); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "task %d made with version %d of assistant %d: %s\n", k.ID, k.AssistantVid, assistant.ID, k.Status)
	own := fmt.Sprintf("/openapi/tasks/%d", k.ID)
	if err := c.importFile(ctx, own, numbers); err != nil {
		return err
	}
	if err := c.do(ctx, "POST", own+"/start", nil, &k); err != nil {
		return err
	}
	hangups, err := c.follow(ctx, own, &k, events)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s: %d %% of %d numbers, %d calls were told of, collection rate %d %%\n%s\n", k.Status, k.Progress, k.Total, hangups, k.CollectionRate, k.Summary)
	if err := c.read(ctx, k.ID); err != nil {
		return err
	}
	for _, path := range []string{own, fmt.Sprintf("/openapi/webhooks/%d", hook.ID)} {
		if err := c.do(ctx, "DELETE", path, nil, nil); err != nil {
			return err
		}
	}
	fmt.Fprintln(c.out, "task and webhook deleted")
	return nil
}

// importFile sends the numbers as the console does: a form with a CSV.
func (c *client) importFile(ctx context.Context, own string, numbers int) error {
	var form bytes.Buffer
	parts := multipart.NewWriter(&form)
	file, err := parts.CreateFormFile("file", "numbers.csv")
	if err != nil {
		return err
	}
	fmt.Fprintln(file, "姓名,号码,订单")
	for i := range numbers {
		fmt.Fprintf(file, "客户%d,138%08d,order-%d\n", i, i, i)
	}
	if err := parts.Close(); err != nil {
		return err
	}
	var report struct {
		Count int `json:"count"`
	}
	if err := c.send(ctx, "POST", own+"/numbers", parts.FormDataContentType(), &form, &report); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "numbers imported:", report.Count)
	return nil
}

// follow waits for the task's end as its webhook tells it and counts the calls that were told before.
func (c *client) follow(ctx context.Context, own string, k *task, events <-chan event) (hangups int, err error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	seen, collected := map[string]bool{}, map[string][]target{}
	for {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-tick.C:
			if err := c.do(ctx, "GET", own, nil, k); err != nil {
				return 0, err
			}
		case e := <-events:
			switch {
			case e.Data.TaskID != k.ID:
			case e.Name == "task.call.hangup" && e.Data.Extra["订单"] == "":
				return 0, fmt.Errorf("session %s came without its order", e.Data.SessionID)
			case e.Name == "task.call.hangup":
				if e.Data.RecordURL != "" && len(seen) == 0 {
					if _, err := fetch(ctx, e.Data.RecordURL); err != nil {
						return 0, err
					}
				}
				seen[e.Data.SessionID] = true // at least once: the same may come again
			case e.Name == "task.call.collect":
				collected[e.Data.SessionID] = e.Data.Targets
			case e.Name == "task.end":
				if e.Data.Progress.Pending != 0 || e.Data.Progress.Called != len(seen) {
					return 0, fmt.Errorf("the end tells of %+v after %d calls", e.Data.Progress, len(seen))
				}
				hits := 0
				for _, targets := range collected {
					if len(targets) == 1 && targets[0].Hit {
						hits++
					}
				}
				fmt.Fprintf(c.out, "%d calls were analysed, %d gave an answer\n", len(collected), hits)
				for _, o := range e.Data.Overview {
					fmt.Fprintf(c.out, "%s: %v\n", o.Question, o.Results)
				}
				return len(seen), c.do(ctx, "GET", own, nil, k)
			}
		}
	}
}

// read looks at the calls of today, and into one that was answered.
func (c *client) read(ctx context.Context, id int64) error {
	answered := ""
	total, from := 0, time.Now().AddDate(0, 0, -2).Format(time.DateTime) // the workspace may be in another time zone
	for page := 1; ; page++ {
		var log struct {
			Items []struct {
				SessionID  string `json:"sessionId"`
				Billsec    int    `json:"billsec"`
				RecordFile string `json:"recordFile"`
			} `json:"items"`
			Total int `json:"total"`
		}
		query := url.Values{"taskId": {fmt.Sprint(id)}, "startTime": {from}, "pageIndex": {fmt.Sprint(page)}, "pageSize": {"100"}}
		if err := c.do(ctx, "GET", "/openapi/calllog?"+query.Encode(), nil, &log); err != nil {
			return err
		}
		for _, k := range log.Items {
			if k.Billsec > 0 && k.RecordFile != "" && answered == "" {
				sound, err := fetch(ctx, k.RecordFile)
				if err != nil {
					return err
				}
				answered = k.SessionID
				fmt.Fprintf(c.out, "session %s: %d s, a recording of %d bytes\n", k.SessionID, k.Billsec, sound)
			}
		}
		if total += len(log.Items); total >= log.Total || len(log.Items) == 0 {
			break
		}
	}
	fmt.Fprintln(c.out, "call records:", total)
	if answered == "" {
		return fmt.Errorf("no call was answered and recorded")
	}
	var trace []struct {
		Event   string `json:"event"`
		Content string `json:"content"`
		Elapsed int    `json:"elapsedMillSeconds"`
	}
	if err := c.do(ctx, "GET", "/openapi/calltrace/"+answered, nil, &trace); err != nil {
		return err
	}
	for _, e := range trace {
		fmt.Fprintf(c.out, "%8d ms %s %s\n", e.Elapsed, e.Event, e.Content)
	}
	return nil
}

// fetch reads a recording, which needs no token, and returns its size.
func fetch(ctx context.Context, address string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", address, nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	sound, err := io.ReadAll(res.Body)
	if err == nil && !bytes.HasPrefix(sound, []byte("RIFF")) {
		err = fmt.Errorf("%s: the recording begins with %.60q", address, sound)
	}
	return len(sound), err
}
