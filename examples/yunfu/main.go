// Command yunfu is an integration against 云蝠's agent-api, written from the vendor's pages alone: it makes a task,
// imports numbers, lets them be called, reads what became of them and cleans up. Against waihu it runs as it does
// against the vendor; only the address differs.
//
//	go run ./examples/yunfu -base http://127.0.0.1:8080 -token TOKEN -user ACCOUNT
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c := client{out: os.Stdout}
	flag.StringVar(&c.base, "base", "http://127.0.0.1:8080", "`address` of the API")
	flag.StringVar(&c.token, "token", "", "bearer `token`")
	flag.StringVar(&c.user, "user", "", "`id` of the main account")
	numbers := flag.Int("numbers", 300, "how many numbers to call")
	endings := flag.String("endings", "00", "last two `digits` of the numbers, in turn, such as 01,02: a test exchange may tell by them how its callees behave")
	listen := flag.String("listen", "", "`address` to take callbacks on; they must be sent there. Empty: none are looked at")
	flag.Parse()
	c.endings = strings.Split(*endings, ",")
	if *listen != "" {
		if err := c.hear(*listen); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if err := c.campaign(ctx, *numbers); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type client struct {
	base, token, user string
	endings           []string // of the numbers, in turn
	out               io.Writer
	heard             *callbacks // nil: none are taken
}

// do sends a request and reads data of the envelope into out.
func (c *client) do(ctx context.Context, method, path string, body, out any) error {
	raw, err := c.raw(ctx, method, path, body)
	if err != nil {
		return err
	}
	var answer struct {
		Code    int             `json:"code"`
		Status  string          `json:"status"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if answer.Code != 200 || answer.Status != "success" {
		return fmt.Errorf("%s %s: %d %s", method, path, answer.Code, answer.Message)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer.Data, out)
}

func (c *client) raw(ctx context.Context, method, path string, body any) ([]byte, error) {
	var sent io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, sent)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

type object map[string]any

// stat is what the integration uses of the task's statistics.
type stat struct {
	AnswerRate struct {
		Answered int `json:"answered"`
		NoAnswer int `json:"noAnswer"`
		Progress int `json:"taskProgress"`
	} `json:"answer_rate"`
	Status []struct {
		Count int `json:"count"`
	} `json:"number_status"`
}

func (s *stat) numbers() (n int) {
	for _, x := range s.Status {
		n += x.Count
	}
	return n
}

func (c *client) campaign(ctx context.Context, numbers int) error {
	modern, shared := "/agent-api/new/user/"+c.user, "/agent-api/user/"+c.user
	var init struct {
		Hours []struct {
			ID int `json:"id"`
		} `json:"task_dial_times"`
		Lines []struct {
			ID      string `json:"line_id"`
			Residue int    `json:"residue"`
		} `json:"caller_line_list"`
		Groups []struct {
			ID json.Number `json:"id"`
		} `json:"outbound_group"`
	}
	if err := c.do(ctx, "GET", modern+"/task/create", nil, &init); err != nil {
		return err
	}
	if len(init.Hours) == 0 || len(init.Lines) == 0 || len(init.Groups) == 0 {
		return fmt.Errorf("the account needs a time group, a line and a script group")
	}
	line := init.Lines[0]
	now := time.Now()
	var task struct {
		UUID string `json:"uuid"`
	}
	if err := c.do(ctx, "POST", modern+"/task", object{
		"name": "接口示例 " + now.Format(time.DateTime), "destination_extension": init.Groups[0].ID, "dial_time_id": init.Hours[0].ID,
		"maximumcall": line.Residue, "task_type": 7, "is_group_switch": 0,
		"task_extras": object{"start_time": now.AddDate(0, 0, -1).Format(time.DateTime), "stop_time": now.AddDate(0, 0, 2).Format(time.DateTime),
			"line": []object{{"id": line.ID, "limit": line.Residue}}, "holiday": []object{}, "pop_mode": 1},
	}, &task); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "task made:", task.UUID)
	own := shared + "/task/" + task.UUID
	batches := map[string]int{} // numbers by unique_id

	for from := 0; from < numbers; from += 200 {
		var rows []object
		for i := from; i < min(from+200, numbers); i++ {
			rows = append(rows, object{"phone": fmt.Sprintf("138%06d%s", i, c.endings[i%len(c.endings)]), "name": fmt.Sprintf("客户%d", i), "extra": fmt.Sprintf("order-%d", i), "sort": 0})
		}
		var batch struct {
			ID string `json:"unique_id"`
		}
		if err := c.do(ctx, "POST", own+"/async_number", object{"data": rows}, &batch); err != nil {
			return err
		}
		batches[batch.ID] = len(rows)
	}
	var s stat
	if err := c.until(ctx, own+"/stat", &s, func() bool { return s.numbers() == numbers }); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "numbers imported:", s.numbers())

	if err := c.do(ctx, "PUT", modern+"/task_start/"+task.UUID, nil, nil); err != nil {
		return err
	}
	if err := c.until(ctx, own+"/stat", &s, func() bool { return s.AnswerRate.Progress == 100 }); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "called:", s.AnswerRate.Answered, "answered,", s.AnswerRate.NoAnswer, "not")
	if err := c.read(ctx, own); err != nil {
		return err
	}
	if c.heard != nil {
		if err := c.compare(ctx, own, batches, numbers); err != nil {
			return err
		}
	}

	if err := c.do(ctx, "PUT", modern+"/task_stop/"+task.UUID, nil, nil); err != nil {
		return err
	}
	if err := c.do(ctx, "DELETE", modern+"/task/"+task.UUID, nil, nil); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "task stopped and deleted")
	return nil
}

// read looks at the calls, and into one that was answered.
func (c *client) read(ctx context.Context, own string) error {
	var calls []struct {
		ID     string `json:"callid"`
		Extra  string `json:"extra"`
		Bill   int    `json:"bill"`
		Answer string `json:"answerdate"`
	}
	if err := c.do(ctx, "GET", own+"/record?page=1&per_page=1000", nil, &calls); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "call records:", len(calls))
	for _, k := range calls {
		if k.Answer == "" {
			continue
		}
		var detail struct {
			Records []struct {
				Robot string `json:"answer_content"`
			} `json:"records"`
		}
		if err := c.do(ctx, "GET", own+"/detail/"+k.ID, nil, &detail); err != nil {
			return err
		}
		if len(detail.Records) == 0 {
			continue // hung up before a word
		}
		sound, err := c.raw(ctx, "GET", own+"/record/"+k.ID+"/download-full-voice", nil)
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(sound, []byte("RIFF")) {
			return fmt.Errorf("call %s: its recording begins with %.60q", k.ID, sound)
		}
		fmt.Fprintf(c.out, "call %s to %s: %d s, %d turns, a recording of %d bytes\n", k.ID, k.Extra, k.Bill, len(detail.Records), len(sound))
		return nil
	}
	return fmt.Errorf("no call was answered and talked to")
}

// until asks twice a second until done.
func (c *client) until(ctx context.Context, path string, out any, done func() bool) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := c.do(ctx, "GET", path, nil, out); err != nil {
			return err
		}
		if done() {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
