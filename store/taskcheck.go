package store

import (
	"fmt"
	"time"

	"waihu"
)

// What the ledger refuses of a task whatever door it came through. Rules of one contract are that door's.

func checkZone(field, zone string) error {
	if zone == "Local" { // LoadLocation would take the machine's own
		return waihu.FieldErrorf(field, "%q is not a time zone: an IANA name such as %s was expected", zone, waihu.DefaultZone)
	}
	if _, err := time.LoadLocation(zone); err != nil {
		return waihu.FieldErrorf(field, "%q is not a time zone: an IANA name such as %s was expected", zone, waihu.DefaultZone)
	}
	return nil
}

func checkWeekly(field string, w waihu.Weekly) error {
	for day, spans := range w {
		for i, s := range spans {
			if s.From < 0 || s.To > 1440 || s.From >= s.To {
				return waihu.FieldErrorf(fmt.Sprintf("%s[%d][%d]", field, day, i), "minutes %d to %d are not a part of a day", s.From, s.To)
			}
		}
	}
	return nil
}

// neverOpen says whether a week has no open part at all.
func neverOpen(w waihu.Weekly) bool {
	for _, spans := range w {
		if len(spans) > 0 {
			return false
		}
	}
	return true
}

func checkTask(k *waihu.Task) error {
	switch {
	case k.Name == "":
		return waihu.FieldErrorf("name", "a task has a name")
	case k.Agent == "":
		return waihu.FieldErrorf("agent", "a task has an agent")
	case k.Concurrency < 1:
		return waihu.FieldErrorf("concurrency", "%d: at least 1 was expected", k.Concurrency)
	case k.Serial < 0:
		return waihu.FieldErrorf("serial", "%d is negative", k.Serial)
	case !k.Start.IsZero() && !k.Stop.IsZero() && !k.Start.Before(k.Stop):
		return waihu.FieldErrorf("stop", "the task stops before it starts")
	case k.Interval < 0:
		return waihu.FieldErrorf("interval", "is negative")
	case k.RingTimeout < 0:
		return waihu.FieldErrorf("ring_timeout", "is negative")
	case k.Redial.Max < 0 || k.Redial.Interval < 0:
		return waihu.FieldErrorf("redial", "is negative")
	}
	if k.Zone != "" {
		if err := checkZone("zone", k.Zone); err != nil {
			return err
		}
	}
	for i, p := range k.Holidays {
		if !p.From.Before(p.To) {
			return waihu.FieldErrorf(fmt.Sprintf("holidays[%d]", i), "ends before it begins")
		}
	}
	seen := map[waihu.LineID]bool{}
	for i, l := range k.Lines {
		field := fmt.Sprintf("lines[%d]", i)
		switch {
		case l.Limit < 0:
			return waihu.FieldErrorf(field+".limit", "%d is negative", l.Limit)
		case seen[l.Line]:
			return waihu.FieldErrorf(field, "line %s is named twice", l.Line)
		}
		seen[l.Line] = true
	}
	return checkWeekly("weekly", k.Weekly)
}

// checkTaskRefs refuses agents and lines that the task's account may not use.
func (t *tx) checkTaskRefs(k *waihu.Task) error {
	if _, err := t.account(k.Account); err != nil {
		return err
	}
	for _, id := range k.Agents() {
		var n int
		if _, err := t.one(into(&n), `select count(*) from agents where id = $2 and `+family(1), k.Account, id); err != nil {
			return err
		}
		if n == 0 {
			return waihu.FieldErrorf("agent", "there is no agent %s", id)
		}
	}
	if k.AgentVersion != 0 {
		found, err := t.one(into(new(int64)), `select id from agent_versions where id = $1 and agent = $2`, k.AgentVersion, k.Agent)
		if err != nil {
			return err
		}
		if !found {
			return waihu.FieldErrorf("agent_version", "agent %s has no version with the id %d", k.Agent, k.AgentVersion)
		}
	}
	for i, id := range k.Callers {
		found, err := t.one(into(new(int64)), `select id from callers where id = $2 and line in (select id from lines where `+family(1)+`)`, k.Account, id)
		if err != nil {
			return err
		}
		if !found {
			return waihu.FieldErrorf(fmt.Sprintf("callers[%d]", i), "there is no caller number with the id %d", id)
		}
	}
	for i, l := range k.Lines {
		var n int
		if _, err := t.one(into(&n), `select count(*) from lines where id = $2 and `+family(1), k.Account, l.Line); err != nil {
			return err
		}
		if n == 0 {
			return waihu.FieldErrorf(fmt.Sprintf("lines[%d]", i), "there is no line %s", l.Line)
		}
	}
	return nil
}
