package resources

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"waihu"
)

// buildModels checks the language models. Their keys are secrets; their addresses are the operator's own, so private ones are good.
func (p *plan) buildModels(list []modelDoc) {
	for i := range list {
		x, path := &list[i], index("models", i)
		if x.ID == "" || strings.TrimSpace(x.ID) != x.ID || len(x.ID) > 100 {
			p.add(path, "an id was expected: up to 100 letters or digits, by which agents and checks name the model")
		} else {
			p.once("model id", x.ID, join(path, "id"))
		}
		p.secret(join(path, "url"), &x.URL)
		if u, err := url.Parse(x.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			p.add(join(path, "url"), "the base address of the server was expected, such as https://api.example.com/v1")
		} else if u.User != nil || u.RawQuery != "" {
			p.add(join(path, "url"), "an address without user and query was expected: the key has a field of its own")
		}
		p.secret(join(path, "key"), &x.Key)
		if x.Model == "" {
			p.add(path, "model was expected: the name by which the server knows it")
		}
		if x.Timeout < 0 || x.Timeout > 240 {
			p.add(join(path, "timeout"), "%d: 1 to 240 seconds were expected", x.Timeout)
		}
		if x.Retries != nil && (*x.Retries < 0 || *x.Retries > 10) {
			p.add(join(path, "retries"), "%d: 0 to 10 was expected", *x.Retries)
		}
		switch x.Format {
		case "", "json_schema", "json_object", "none":
		default:
			p.add(join(path, "format"), "%q is no format: json_schema, json_object or none was expected", x.Format)
		}
		if x.Parallel < 0 || x.Parallel > 1000 {
			p.add(join(path, "parallel"), "%d: 1 to 1000 was expected", x.Parallel)
		}
		if x.MaxTokens < 0 {
			p.add(join(path, "max_tokens"), "%d is negative", x.MaxTokens)
		}
		m := waihu.Model{ID: x.ID, URL: x.URL, Key: x.Key, Model: x.Model, Default: x.Default, Timeout: time.Duration(x.Timeout) * time.Second, Retries: x.Retries,
			Format: x.Format, Temperature: x.Temperature, MaxTokens: x.MaxTokens, Parallel: x.Parallel, Extra: x.ExtraBody, Headers: x.Headers}
		p.put("models", "model", x.ID, path, "", m)
	}
}

// checks is the data of a quality check or score scheme, without what it leaves out.
func (p *plan) checks(path string, c *waihu.Checks) map[string]any {
	p.fromFile(join(path, "prompt"), &c.Prompt)
	if c.Model != "" && p.ids["model id\x00"+c.Model] == 0 {
		known, err := p.o.Store.Models(p.ctx)
		if err != nil && p.err == nil {
			p.err = err
		}
		found := false
		for _, m := range known {
			found = found || m.ID == c.Model
		}
		if !found {
			p.add(join(path, "model"), "there is no model %s, neither in this file nor in the ledger", c.Model)
		}
	}
	if p.o.Checks != nil {
		for _, problem := range p.o.Checks(c) {
			p.add(join(path, problem.Field), "%s", problem.Message)
		}
	}
	data := map[string]any{}
	text, err := json.Marshal(c)
	if err == nil {
		err = json.Unmarshal(text, &data)
	}
	if err != nil && p.err == nil {
		p.err = err
	}
	return data
}

// checkID is the id of a quality check or score scheme that a task names; 0 is none.
func (p *plan) checkID(path string, kind waihu.NamedKind, account waihu.AccountID, id int64) string {
	if id == 0 {
		return ""
	}
	text := strconv.FormatInt(id, 10)
	if p.ids[strings.ReplaceAll(string(kind), "_", " ")+" id\x00"+text] == 0 {
		if _, err := p.o.Store.Named(p.ctx, account, kind, id); !p.found(err) {
			p.add(path, "there is no %s %d, neither in this file nor in the ledger", strings.ReplaceAll(string(kind), "_", " "), id)
		}
	}
	return text
}
