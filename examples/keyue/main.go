// Command keyue is an integration against the agent API of Baidu's 客悦 (Keyue), written from the vendor's pages alone: it
// copies an agent many times at once, waits for the copies, renames, publishes and withdraws one, gives it a document,
// and deletes what it made. Against waihu it runs as it does against the vendor; only the address differs.
//
//	go run ./examples/keyue -base http://127.0.0.1:8080 -token KEY -uid UID -username NAME -agent AGENT
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c := client{out: os.Stdout}
	flag.StringVar(&c.base, "base", "https://keyue.cloud.baidu.com", "`address` of the API")
	flag.StringVar(&c.token, "token", "", "API `key`")
	flag.StringVar(&c.uid, "uid", "", "`id` of the account")
	flag.StringVar(&c.username, "username", "", "`name` of the account")
	agent := flag.String("agent", "", "`id` of the agent to copy")
	copies := flag.Int("copies", 50, "how many copies to make at once")
	keep := flag.Bool("keep", false, "only make the copies and leave them")
	flag.Parse()
	if err := c.run(ctx, *agent, *copies, *keep); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type client struct {
	base, token, uid, username string
	out                        io.Writer
}

// task is what the pages say of an asynchronous task. Its taskStatus has no documented values: it is over when it has
// a result or an error.
type task struct {
	ID         string `json:"id"`
	AgentName  string `json:"agentName"`
	TaskURL    string `json:"taskUrl"`
	TaskResult any    `json:"taskResult"`
	ErrorMsg   any    `json:"errorMsg"`
}

type agent struct {
	ID        string `json:"id"`
	AgentName string `json:"agentName"`
}

type object map[string]any

// refusal is a failure as the pages document it.
type refusal struct {
	Code      int    `json:"code"`
	Msg       string `json:"msg"`
	RequestID string `json:"requestId"`
}

func (r refusal) Error() string { return fmt.Sprintf("%d %s (%s)", r.Code, r.Msg, r.RequestID) }

func (c *client) run(ctx context.Context, source string, copies int, keep bool) error {
	made, err := c.copies(ctx, source, copies)
	if err != nil || keep {
		return err
	}
	first := made[0]
	if err := c.life(ctx, first); err != nil {
		return err
	}
	for _, a := range made {
		if err := c.do(ctx, "POST", "/open/v1/api/v3/agents/delete?agentId="+a.ID, object{"id": a.ID, "agentName": a.AgentName}, nil); err != nil {
			return err
		}
	}
	fmt.Fprintln(c.out, "deleted:", len(made))
	return nil
}

// copies asks for all copies at once, then waits for each.
func (c *client) copies(ctx context.Context, source string, n int) ([]*agent, error) {
	tasks := make([]task, n)
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			errs[i] = c.do(ctx, "POST", "/open/v1/api/v2/task/create/agent_copy", object{"agentId": source}, &tasks[i])
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	fmt.Fprintln(c.out, "copies asked for:", n)
	var made []*agent
	names := map[string]bool{}
	for _, t := range tasks {
		id, err := c.wait(ctx, t)
		if err != nil {
			return nil, err
		}
		a := &agent{}
		if err := c.do(ctx, "GET", "/open/v1/api/v3/agents/detail?id="+id, nil, a); err != nil {
			return nil, err
		}
		if names[a.AgentName] || !strings.HasPrefix(a.AgentName, t.AgentName) || a.AgentName == t.AgentName {
			return nil, fmt.Errorf("the copy of %q is called %q", t.AgentName, a.AgentName)
		}
		names[a.AgentName] = true
		made = append(made, a)
	}
	fmt.Fprintln(c.out, "copies made:", len(made))
	return made, nil
}

// life takes an agent through everything else.
func (c *client) life(ctx context.Context, a *agent) error {
	a.AgentName += " 接口示例"
	if err := c.do(ctx, "POST", "/open/v1/api/v3/agents/update", object{"id": a.ID, "agentName": a.AgentName, "avatarUrl": "https://example.com/a.png", "description": ""}, nil); err != nil {
		return err
	}
	if result, err := c.document(ctx, a.ID); err != nil {
		return err
	} else {
		fmt.Fprintln(c.out, "document:", result)
	}
	var t task
	if err := c.send(ctx, "POST", "/open/v1/api/v2/task/create/agent_publish", "application/json", strings.NewReader(`{"category":"all"}`), http.Header{"Agentid": {a.ID}}, &t); err != nil {
		return err
	}
	if _, err := c.wait(ctx, t); err != nil {
		return err
	}
	var list struct {
		Total int     `json:"total"`
		List  []agent `json:"list"`
	}
	if err := c.do(ctx, "GET", "/open/v1/api/v3/agents?status=2&keyword=%E6%8E%A5%E5%8F%A3%E7%A4%BA%E4%BE%8B&pn=1&ps=20", nil, &list); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "published:", list.Total)
	var refused refusal
	if err := c.do(ctx, "POST", "/open/v1/api/v3/agents/delete?agentId="+a.ID, object{"id": a.ID, "agentName": a.AgentName}, nil); !errors.As(err, &refused) {
		return fmt.Errorf("an online agent was deleted: %v", err)
	}
	return c.do(ctx, "POST", "/open/v1/api/v3/agents/offline", object{"agentId": a.ID}, nil)
}

// document uploads a table of questions and answers.
func (c *client) document(ctx context.Context, agent string) (string, error) {
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	part, err := m.CreateFormFile("file", "常见问题.csv")
	if err != nil {
		return "", err
	}
	fmt.Fprint(part, "问题,答案\n运费多少,全国包邮\n多久发货,当天发货\n")
	if err := errors.Join(m.WriteField("taskExtend", "{}"), m.Close()); err != nil {
		return "", err
	}
	var t task
	if err := c.send(ctx, "POST", "/open/v1/api/v2/task/create/llm_document_import?dirId=0", m.FormDataContentType(), &body, http.Header{"Agentid": {agent}}, &t); err != nil {
		return "", err
	}
	return c.wait(ctx, t)
}

// wait polls the list of tasks until this one is over. The pages have no other way. What is asked for while the
// service restarts fails; the task goes on.
func (c *client) wait(ctx context.Context, t task) (string, error) {
	for {
		for page := 1; ; page++ {
			var list struct {
				Total int    `json:"total"`
				Tasks []task `json:"taskList"`
			}
			if err := c.do(ctx, "GET", fmt.Sprintf("/open/v1/api/v2/task/openList?queryLevel=0&taskUrl=%s&pn=%d&ps=100", t.TaskURL, page), nil, &list); err != nil {
				var refused refusal
				if errors.As(err, &refused) || ctx.Err() != nil {
					return "", err
				}
				break
			}
			for _, x := range list.Tasks {
				if x.ID != t.ID {
					continue
				}
				if x.ErrorMsg != nil {
					return "", fmt.Errorf("task %s: %v", t.ID, x.ErrorMsg)
				}
				if x.TaskResult != nil {
					return fmt.Sprint(x.TaskResult), nil
				}
			}
			if len(list.Tasks) == 0 || page*100 >= list.Total {
				break
			}
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (c *client) do(ctx context.Context, method, path string, body, out any) error {
	var sent io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(raw)
	}
	return c.send(ctx, method, path, "application/json", sent, nil, out)
}

// send makes a request and reads data of the envelope into out.
func (c *client) send(ctx context.Context, method, path, contentType string, body io.Reader, more http.Header, out any) error {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	for name, values := range more {
		r.Header[name] = values
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("token", c.token)
	r.Header.Set("uid", c.uid)
	r.Header.Set("username", c.username)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	var answer struct {
		refusal
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("%s %s: %s: %w", method, path, res.Status, err)
	}
	if answer.Code != 200 {
		return fmt.Errorf("%s %s: %w", method, path, answer.refusal)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer.Data, out)
}
