package keyue

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"waihu"
	"waihu/sheet"
	"waihu/store"
)

// importResult is the taskResult of an import, as JSON text.
type importResult struct {
	Total     int `json:"total"`
	Success   int `json:"success"`
	Duplicate int `json:"duplicate"` // the agent knew it already
	Failed    int `json:"failed"`
}

func (s *server) importDocument(ctx context.Context, j store.AgentJob, body jobBody) error {
	file, err := s.Store.AgentJobFile(ctx, j.Account, j.ID, "file")
	if err != nil {
		return err
	}
	o, err := parseExtend(body.Extend)
	if err != nil {
		return err
	}
	list, bad, err := readDocument(body.File, file, o)
	if err != nil {
		return err
	}
	a, err := s.Store.Agent(ctx, j.Account, j.Agent)
	if err != nil {
		return err
	}
	list, faulty := s.sound(a, list)
	r := &importReport{flaws: append(bad, faulty...)}
	fresh := a.Knowledge
	r.taken, r.known = merge(&fresh, list)
	report, err := r.csv()
	if err != nil {
		return err
	}
	if len(r.taken)+len(r.known) == 0 {
		return s.Store.FailAgentJob(ctx, j, fmt.Sprintf("没有一条可以导入,共 %d 条,原因见报告", len(r.flaws)), report)
	}
	result, err := json.Marshal(importResult{len(r.taken) + len(r.known) + len(r.flaws), len(r.taken), len(r.known), len(r.flaws)})
	if err != nil {
		return err
	}
	return s.Store.ImportIntoAgent(ctx, j, func(a *waihu.AgentSpec) error {
		merge(&a.Knowledge, list)
		if len(a.Knowledge) > maxEntries {
			return refused(importError, "机器人的知识将达到 %d 条,最多 %d 条", len(a.Knowledge), maxEntries)
		}
		size := 0
		for _, k := range a.Knowledge {
			size += len(k.A)
		}
		if size > maxKnowledge {
			return refused(importError, "机器人的知识将达到 %d KB,最多 %d KB", size>>10, maxKnowledge>>10)
		}
		return nil
	}, string(result), report)
}

// sound takes out the entries with which the agent would not be right: a variable that is not closed, for one.
func (s *server) sound(a waihu.AgentSpec, list []entry) (good []entry, bad []flaw) {
	known := len(a.Knowledge)
	a.Knowledge = slices.Clone(a.Knowledge)
	for _, e := range list {
		a.Knowledge = append(a.Knowledge, e.KnowledgeSpec)
	}
	faults := map[int]string{}
	for _, p := range s.Check(&a) {
		rest, ok := strings.CutPrefix(p.Field, "knowledge[")
		number, _, closed := strings.Cut(rest, "]")
		if i, err := strconv.Atoi(number); ok && closed && err == nil && i >= known {
			faults[i-known] = p.Message
		}
	}
	for i, e := range list {
		if why, faulty := faults[i]; faulty {
			bad = append(bad, flaw{e.line, why})
			continue
		}
		good = append(good, e)
	}
	return good, bad
}

// merge adds what knowledge lacks.
func merge(knowledge *[]waihu.KnowledgeSpec, list []entry) (taken, known []entry) {
	key := func(k waihu.KnowledgeSpec) string { return strings.Join(k.Q, "\n") + "\x00" + k.A }
	have := map[string]bool{}
	for _, k := range *knowledge {
		have[key(k)] = true
	}
	*knowledge = slices.Clip(*knowledge)
	for _, e := range list {
		if have[key(e.KnowledgeSpec)] {
			known = append(known, e)
			continue
		}
		have[key(e.KnowledgeSpec)] = true
		*knowledge = append(*knowledge, e.KnowledgeSpec)
		taken = append(taken, e)
	}
	return taken, known
}

// importReport says of every line what became of it.
type importReport struct {
	taken, known []entry
	flaws        []flaw
}

func (r *importReport) csv() ([]byte, error) {
	type row struct {
		line      int
		text, why string
	}
	var rows []row
	for _, e := range r.taken {
		rows = append(rows, row{e.line, "已导入", ""})
	}
	for _, e := range r.known {
		rows = append(rows, row{e.line, "已存在", ""})
	}
	for _, f := range r.flaws {
		rows = append(rows, row{f.line, "未导入", f.why})
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.line, b.line) })
	var b bytes.Buffer
	w := sheet.NewCSVWriter(&b)
	err := w.Write([]string{"行号", "结果", "原因"})
	for _, r := range rows {
		err = errors.Join(err, w.Write([]string{strconv.Itoa(r.line), r.text, r.why}))
	}
	err = errors.Join(err, w.Close()) // which writes the rest
	return b.Bytes(), err
}
