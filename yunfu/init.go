package yunfu

import (
	"encoding/json"
	"time"

	"waihu"
)

// neverExpires stands for a line without an expiry: the page shows a date for every line.
const neverExpires = "2099-12-31 00:00:00"

// maxRecycleLimit is the constant of the page; its meaning is not given.
const maxRecycleLimit = 50

type initData struct {
	DialTimes    []initHours       `json:"task_dial_times"`
	Lines        []initLine        `json:"caller_line_list"`
	MaxRecycle   int               `json:"max_recycle_limit"`
	Groups       []map[string]any  `json:"outbound_group"`
	BridgeGroups []initBridge      `json:"bridge_groups"`
	Rules        []initRule        `json:"auto_recycle_rules"`
	EndActions   map[string]string `json:"end_actions"`
	BigModels    []any             `json:"big_model_labels"`
	Backgrounds  []initBackground  `json:"background"`
	Quality      []initQuality     `json:"llm_intention_configs"`
}

type initHours struct {
	ID      int64           `json:"id"`
	Name    string          `json:"name"`
	UserID  waihu.AccountID `json:"user_id"`
	Content []hoursDay      `json:"content"`
	Default bool            `json:"is_default"`
	Remark  any             `json:"remark"`
	Created string          `json:"created_at"`
	Updated string          `json:"updated_at"`
}

type hoursDay struct {
	Week  int         `json:"week"`
	Times []hoursSpan `json:"times"`
}

type hoursSpan struct {
	End   string `json:"end_time"`
	Begin string `json:"begin_time"`
}

type initLine struct {
	Name        any             `json:"name"` // the allocation's own label, which we do not have
	Remark      string          `json:"remark"`
	LineID      waihu.LineID    `json:"line_id"`
	Value       waihu.LineID    `json:"value,omitempty"` // legacy init only
	BelongUser  waihu.AccountID `json:"belong_user"`
	Concurrency int             `json:"line_concurrency"`
	Residue     int             `json:"residue"`
	AvailableAt string          `json:"available_at"`
	NewLine     initNewLine     `json:"new_line"`
}

type initNewLine struct {
	Name        string   `json:"name"`
	Type        int      `json:"type"`
	BindTypeStr string   `json:"bind_type_str"`
	TypeStr     string   `json:"type_str"`
	Node        initNode `json:"node"`
}

type initNode struct {
	Name string `json:"name"`
}

type initBridge struct {
	ID          int64  `json:"id"`
	Name        string `json:"name"`
	Strategy    int    `json:"strategy"`
	StrategyStr string `json:"strategy_str"`
}

type initRule struct {
	ID      int64           `json:"id"`
	UserID  waihu.AccountID `json:"user_id"`
	Name    string          `json:"name"`
	Remark  string          `json:"remark"`
	Status  bool            `json:"status"`
	Created string          `json:"created_at"`
	Updated string          `json:"updated_at"`
	Default bool            `json:"is_default"`
	Type    int             `json:"type"`
	Configs []any           `json:"configs"`
	Details []initDetail    `json:"details"`
}

type initDetail struct {
	RuleID    int64  `json:"rule_id"`
	Status    int    `json:"number_status"`
	Time      int    `json:"time"` // minutes
	StatusStr string `json:"number_status_str"`
}

type initBackground struct {
	ID      int64  `json:"id"`
	Name    string `json:"name"`
	Created string `json:"created_at"`
}

type initQuality struct {
	ID      int64           `json:"id"`
	Name    string          `json:"name"`
	UserID  waihu.AccountID `json:"user_id"`
	LLMType int             `json:"llm_type"`
	Default int             `json:"is_default"`
	Created string          `json:"created_at"`
}

// groupDefaults are the fields of a script group that nobody has set, with the types of the page.
var groupDefaults = map[string]any{
	"category_id": nil, "debug": false, "deleted_at": nil, "link_word_group_id": nil, "tag_scene_id": nil, "knowledge_id": nil,
	"exclusive_asr": "", "exclusive_tts": "", "priority_matching": 0, "is_top": 0, "nlp_threshold": 0, "order_matching": 0, "sort": 0,
	"usable": 0, "inner": 0, "is_sync": 0, "speed": 50, "volume": 50, "is_lock": 0, "is_train": 0, "is_visible": 1, "is_edit": 1, "is_active": 1,
	"use_type": 3, "extension_number": nil, "aim_content": nil, "intention_group_id": 0, "tts_extension": nil, "big_model_type": "",
	"local_knowledge_base_id": nil, "custom_prompt": nil, "bridge_group_id": nil, "llm_nlp_threshold": 80, "llm_scene_id": nil, "default": false,
}

func (s *server) taskInit(c *request) (*answer, error)       { return s.initOf(c, false) }
func (s *server) taskInitLegacy(c *request) (*answer, error) { return s.initOf(c, true) }

func (s *server) initOf(c *request, legacy bool) (*answer, error) {
	d := initData{MaxRecycle: maxRecycleLimit, EndActions: map[string]string{"1": "暂停任务释放并发", "0": "无操作"},
		BigModels: []any{}, DialTimes: []initHours{}, Lines: []initLine{}, Groups: []map[string]any{}, BridgeGroups: []initBridge{},
		Rules: []initRule{}, Backgrounds: []initBackground{}, Quality: []initQuality{}}
	for _, part := range []func(*request, *initData) error{s.initHours, s.initLines, s.initGroups, s.initRules, s.initNamed} {
		if err := part(c, &d); err != nil {
			return nil, err
		}
	}
	if legacy {
		for i := range d.Lines {
			d.Lines[i].Value = d.Lines[i].LineID
		}
	}
	return &answer{message: "返回任务初始化信息成功", data: d}, nil
}

func (s *server) initHours(c *request, d *initData) error {
	list, err := s.Store.CallingHoursList(c.ctx, c.acts.ID)
	for _, h := range list {
		out := initHours{ID: h.ID, Name: h.Name, UserID: c.acts.ID, Content: weekContent(h.Weekly), Default: h.Default, Remark: textOrNull(h.Remark),
			Created: stamp(h.CreatedAt, c.loc), Updated: stamp(h.UpdatedAt, c.loc)}
		d.DialTimes = append(d.DialTimes, out)
	}
	return err
}

func (s *server) initLines(c *request, d *initData) error {
	lines, err := s.Store.Lines(c.ctx, c.acts.ID)
	if err != nil {
		return err
	}
	residue, err := s.Store.Residue(c.ctx, c.acts.ID, "")
	if err != nil {
		return err
	}
	given, err := s.Store.Allocations(c.ctx, c.acts.ID)
	for _, l := range lines {
		label := ""
		for _, a := range given { // what the account has been given counts
			if a.Line == l.ID && a.Account == c.acts.ID {
				label, l.Concurrency = a.Name, min(l.Concurrency, a.Concurrency)
				if !a.Deadline.IsZero() && (l.Expires.IsZero() || a.Deadline.Before(l.Expires)) {
					l.Expires = a.Deadline
				}
			}
		}
		if !l.Usable(s.Now()) {
			continue
		}
		available := neverExpires
		if !l.Expires.IsZero() {
			available = stamp(l.Expires, c.loc)
		}
		d.Lines = append(d.Lines, initLine{Name: textOrNull(label), Remark: l.Remark, LineID: l.ID, BelongUser: l.Account, Concurrency: l.Concurrency, Residue: residue[l.ID],
			AvailableAt: available, NewLine: initNewLine{Name: l.Name, Type: 1, TypeStr: "外部线路", BindTypeStr: "IP", Node: initNode{l.Node}}})
	}
	return err
}

func (s *server) initGroups(c *request, d *initData) (err error) {
	d.Groups, err = c.scriptGroups(c.acts.ID, false)
	return err
}

func (s *server) initRules(c *request, d *initData) error {
	rules, err := s.Store.RedialRules(c.ctx, c.acts.ID)
	for _, r := range rules {
		out := initRule{ID: r.ID, UserID: c.acts.ID, Name: r.Name, Remark: r.Remark, Status: true, Default: r.Default, Type: 1, Configs: []any{},
			Details: []initDetail{}, Created: stamp(r.CreatedAt, c.loc), Updated: stamp(r.UpdatedAt, c.loc)}
		for _, x := range r.Details {
			code := statusOf(x.On)
			out.Details = append(out.Details, initDetail{r.ID, code, int(x.After / time.Minute), statusNames[code]})
		}
		d.Rules = append(d.Rules, out)
	}
	return err
}

func (s *server) initNamed(c *request, d *initData) error {
	backgrounds, err := s.Store.NamedList(c.ctx, c.acts.ID, waihu.Background)
	if err != nil {
		return err
	}
	for _, n := range backgrounds {
		d.Backgrounds = append(d.Backgrounds, initBackground{n.ID, n.Name, stamp(n.CreatedAt, c.loc)})
	}
	bridges, err := s.Store.NamedList(c.ctx, c.acts.ID, waihu.BridgeGroup)
	if err != nil {
		return err
	}
	for _, n := range bridges {
		// Even distribution is the only strategy that the vendor's pages name.
		d.BridgeGroups = append(d.BridgeGroups, initBridge{n.ID, n.Name, 1, "平均"})
	}
	checks, err := s.Store.NamedList(c.ctx, c.acts.ID, waihu.QualityCheck)
	for _, n := range checks {
		set := struct {
			LLMType int  `json:"llm_type"`
			Default flag `json:"is_default"`
		}{LLMType: 2}
		if len(n.Data) > 0 && json.Unmarshal(n.Data, &set) != nil {
			set.LLMType, set.Default = 2, 0
		}
		d.Quality = append(d.Quality, initQuality{n.ID, n.Name, c.acts.ID, set.LLMType, int(set.Default), stamp(n.CreatedAt, c.loc)})
	}
	return err
}

// flag is 0 or 1, read from a bool or a number.
type flag int

func (f *flag) UnmarshalJSON(b []byte) error {
	if text := string(b); text == "true" || text == "1" {
		*f = 1
	}
	return nil
}
