package yunfu

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"

	"waihu"
)

// numbersAddress gives the numbers of a batch without a token for linkLife.
func (c *request) numbersAddress(account waihu.AccountID, batch string) (string, error) {
	return c.fileAddress(string(account) + "\n" + batch)
}

// rangesAddress is numbersAddress for numbers of a task by their seq: "task" and "first-last,first-last" beside the account.
func (c *request) rangesAddress(account waihu.AccountID, task waihu.TaskID, ranges [][2]int64) (string, error) {
	var spans []string
	for _, r := range ranges {
		spans = append(spans, strconv.FormatInt(r[0], 10)+"-"+strconv.FormatInt(r[1], 10))
	}
	return c.fileAddress(string(account) + "\n" + string(task) + "\n" + strings.Join(spans, ","))
}

func (c *request) fileAddress(target string) (string, error) {
	key, err := c.s.Store.Link(numbersLink, target, c.s.Now().Add(linkLife))
	return c.address("/agent-api/download-number?key=" + key), err
}

// downloadNumbers is the bare list of numbers that a link stands for: the one answer without an envelope.
func (s *server) downloadNumbers(c *request) (*answer, error) {
	target, err := c.link(numbersLink)
	if err != nil {
		return nil, err
	}
	part := strings.Split(target, "\n")
	switch len(part) {
	case 2:
		return nil, s.sendBatch(c, waihu.AccountID(part[0]), part[1])
	case 3:
		return nil, s.sendRanges(c, waihu.AccountID(part[0]), waihu.TaskID(part[1]), part[2])
	}
	return nil, noLink
}

func (s *server) sendBatch(c *request, account waihu.AccountID, id string) error {
	b, err := s.Store.Batch(c.ctx, account, id)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return noLink
	}
	var body batchBody
	if err == nil {
		body, err = bodyOf(&b)
	}
	if err != nil {
		return err
	}
	codec, err := s.batchCodec(c.ctx, account, &body)
	if err != nil {
		return err
	}
	parts, err := s.Store.BatchParts(c.ctx, account, id)
	if err != nil {
		return err
	}
	var numbers []string
	for _, p := range parts {
		if p.Done {
			for _, n := range p.Numbers {
				numbers = append(numbers, codec.seal(n))
			}
		}
	}
	f := numberFile{w: c.w}
	f.add(numbers)
	f.end()
	return nil
}

// filePortion is how many numbers are read at once: a file may hold a million.
const filePortion = 5000

func (s *server) sendRanges(c *request, account waihu.AccountID, task waihu.TaskID, text string) error {
	var left [][2]int64
	for span := range strings.SplitSeq(text, ",") {
		from, to, _ := strings.Cut(span, "-")
		a, err1 := strconv.ParseInt(from, 10, 64)
		b, err2 := strconv.ParseInt(to, 10, 64)
		if err1 != nil || err2 != nil {
			return noLink
		}
		left = append(left, [2]int64{a, b})
	}
	f := numberFile{w: c.w}
	for len(left) > 0 {
		keys, more, err := s.Store.KeysIn(c.ctx, account, task, left, filePortion)
		switch {
		case err == nil:
		case f.begun: // the answer's status is sent: only a broken connection says that the file is not whole
			panic(http.ErrAbortHandler)
		case waihu.ErrorCode(err) == waihu.ENotFound:
			return noLink
		default:
			return err
		}
		f.add(keys)
		left = more
	}
	f.end()
	return nil
}

// numberFile writes {"numbers":[…]} as it comes.
type numberFile struct {
	w     http.ResponseWriter
	begun bool
	any   bool
}

func (f *numberFile) begin() {
	if !f.begun {
		f.begun = true
		f.w.Header().Set("Content-Type", "application/json; charset=utf-8")
		f.w.Header().Set("Cache-Control", "private")
		io.WriteString(f.w, `{"numbers":[`)
	}
}

func (f *numberFile) add(numbers []string) {
	f.begin()
	for _, n := range numbers {
		raw, _ := json.Marshal(n) // a text always encodes
		if f.any {
			f.w.Write([]byte{','})
		}
		f.any = true
		f.w.Write(raw)
	}
}

func (f *numberFile) end() {
	f.begin()
	io.WriteString(f.w, "]}")
}
