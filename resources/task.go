package resources

import (
	"strconv"
	"time"

	"waihu"
)

func (p *plan) buildTask(path string, x *taskDoc) {
	at := func(key string) string { return join(path, key) }
	p.named("task", path, x.ID, x.Name)
	account := p.account(path, x.Account)
	p.checkZone(at("zone"), x.Zone)
	loc := p.zone(account)
	if x.Zone != "" {
		loc = waihu.Location(x.Zone)
	}
	k := waihu.Task{ID: waihu.TaskID(x.ID), Serial: x.Serial, Account: account, Name: x.Name, Remark: x.Remark, Agent: waihu.AgentID(x.Agent),
		Concurrency: x.Concurrency, HoursID: x.CallingHours, Zone: x.Zone, Interval: time.Duration(x.Interval) * time.Second,
		RingTimeout: time.Duration(x.RingTimeout) * time.Second}
	if k.Zone == "" {
		k.Zone = loc.String() // text in the account's zone also means its days and hours
	}
	switch {
	case x.Serial < 0:
		p.add(at("serial"), "%d is negative", x.Serial)
	case x.Serial > 0:
		p.once("task serial", strconv.FormatInt(x.Serial, 10), at("serial"))
	}
	if x.Concurrency < 1 {
		p.add(at("concurrency"), "%d: at least 1 was expected", x.Concurrency)
	}
	p.taskAgent(path, &k)
	p.taskHours(path, x, &k)
	p.taskLines(path, x, &k)

	k.Start, k.Stop = p.time(at("start"), x.Start, loc), p.time(at("stop"), x.Stop, loc)
	if !k.Start.IsZero() && !k.Stop.IsZero() && !k.Start.Before(k.Stop) {
		p.add(at("stop"), "the task stops before it starts")
	}
	for i, h := range x.Holidays {
		here := index(at("holidays"), i)
		from, to := p.time(join(here, "from"), h.From, loc), p.time(join(here, "to"), h.To, loc)
		if h.From == "" || h.To == "" || !from.Before(to) {
			p.add(here, "from and a later to were expected")
		}
		k.Holidays = append(k.Holidays, waihu.Period{From: from, To: to})
	}
	p.taskChoices(path, x, &k)
	k.QualityCheck = p.checkID(at("quality_check"), waihu.QualityCheck, account, x.QualityCheck)
	k.ScoreScheme = p.checkID(at("score_scheme"), waihu.ScoreScheme, account, x.ScoreScheme)
	p.put("tasks", "task", x.ID, path, account, k)
}

func (p *plan) taskAgent(path string, k *waihu.Task) {
	if k.Agent == "" {
		p.add(path, "an agent was expected: the id of the one that talks")
		return
	}
	owner, ok := p.agents[k.Agent]
	if !ok {
		a, err := p.o.Store.Agent(p.ctx, k.Account, k.Agent)
		owner, ok = a.Account, p.found(err)
	}
	if !ok || !p.reaches(k.Account, owner) {
		p.add(join(path, "agent"), "there is no agent %s that account %s may use, neither in this file nor in the ledger", k.Agent, k.Account)
	}
}

func (p *plan) taskHours(path string, x *taskDoc, k *waihu.Task) {
	switch {
	case x.CallingHours == 0 && len(x.Weekly) == 0:
		p.add(path, `calling_hours with the id of calling hours was expected, or weekly such as {all: ["09:00-12:00"]}`)
	case x.CallingHours != 0 && len(x.Weekly) != 0:
		p.add(join(path, "weekly"), "either calling_hours or weekly was expected, not both")
	case len(x.Weekly) != 0:
		k.Weekly = p.weekly(join(path, "weekly"), x.Weekly)
	default:
		owner, ok := p.hours[x.CallingHours]
		if !ok {
			h, err := p.o.Store.CallingHours(p.ctx, k.Account, x.CallingHours)
			owner, ok = h.Account, p.found(err)
		}
		if !ok || !p.reaches(k.Account, owner) {
			p.add(join(path, "calling_hours"), "there are no calling hours %d that account %s may use, neither in this file nor in the ledger", x.CallingHours, k.Account)
		}
	}
}

func (p *plan) taskLines(path string, x *taskDoc, k *waihu.Task) {
	seen := map[string]bool{}
	for i, l := range x.Lines {
		here := index(join(path, "lines"), i)
		if l.Limit < 1 {
			p.add(here, "limit was expected: at least 1 of the line's channels")
		}
		if seen[l.ID] {
			p.add(join(here, "id"), "the line is named twice")
		}
		seen[l.ID] = true
		id := waihu.LineID(l.ID)
		owner, ok := p.lines[id]
		if !ok {
			known, err := p.o.Store.Line(p.ctx, k.Account, id)
			owner, ok = known.Account, p.found(err)
		}
		if !ok || !p.reaches(k.Account, owner) {
			p.add(join(here, "id"), "there is no line %s that account %s may use, neither in this file nor in the ledger", l.ID, k.Account)
		}
		k.Lines = append(k.Lines, waihu.TaskLine{Line: id, Limit: l.Limit})
	}
}

func (p *plan) taskChoices(path string, x *taskDoc, k *waihu.Task) {
	at := func(key string) string { return join(path, key) }
	p.oneOf(at("order"), x.Order, "random", "in_order", "reverse")
	p.oneOf(at("end_action"), x.EndAction, "none", "pause")
	p.oneOf(at("unknown_outcome"), x.UnknownOutcome, "done", "redial")
	switch x.Order {
	case "in_order":
		k.Pop = waihu.PopInOrder
	case "reverse":
		k.Pop = waihu.PopReverse
	}
	if x.EndAction == "pause" {
		k.EndAction = waihu.EndPause
	}
	if x.UnknownOutcome == "redial" {
		k.Unknown = waihu.UnknownRedial
	}
	p.between(at("interval"), x.Interval, 0, 86400, "seconds")
	p.between(at("ring_timeout"), x.RingTimeout, 0, 300, "seconds")
	if r := x.Redial; r != nil {
		p.between(at("redial.max"), r.Max, 1, 3, "redials")
		p.between(at("redial.after_minutes"), r.AfterMinutes, 0, 60, "minutes")
		if len(r.On) == 0 {
			p.add(at("redial"), "on was expected: the number statuses that are dialled again, such as [4, 8]")
		}
		k.Redial = waihu.Redial{Max: r.Max, Interval: time.Duration(r.AfterMinutes) * time.Minute, NewFirst: r.NewFirst}
		for i, n := range r.On {
			k.Redial.On = append(k.Redial.On, p.status(index(at("redial.on"), i), n))
		}
	}
}
