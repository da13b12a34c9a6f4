package yunfu

import (
	"fmt"
	"maps"
	"math"
	"strconv"

	"waihu"
)

// Heard is spec with the voice that its script group's speed and volume ask for: the vendor's 0 to 100, where 50 is
// normal. What the group does not set, or sets to no number, stays the agent's own. Speeds end where voices can
// follow, at half and at twice the normal one.
func Heard(spec waihu.AgentSpec) waihu.AgentSpec {
	set := func(key string) (float64, bool) {
		v, err := strconv.ParseFloat(fmt.Sprint(spec.Vendor[Door][key]), 64)
		return v, err == nil && v >= 0 && v <= 100
	}
	if v, ok := set("speed"); ok {
		spec.Voice.Speed = max(0.5, v/50)
	}
	if v, ok := set("volume"); ok {
		spec.Voice.Volume = max(1, int(v)) // 0 is an agent's word for the default
	}
	return spec
}

// scriptGroups are the agents that an account may use, as script groups. An agent whose id is no decimal number
// cannot appear: the page's id is an int, and a typed client would fail on the whole answer.
func (c *request) scriptGroups(account waihu.AccountID, own bool) (list []map[string]any, err error) {
	const portion = 1000
	list = []map[string]any{}
	for page := 1; ; page++ {
		agents, total, err := c.s.Store.Agents(c.ctx, account, page, portion)
		if err != nil {
			return nil, err
		}
		for _, a := range agents {
			id, ok := scriptID(a.ID).(int64)
			if !ok || own && a.Account != account {
				continue
			}
			g := maps.Clone(groupDefaults)
			if a.Voice.Speed > 0 { // the vendor's middle is 50
				g["speed"] = int(math.Round(a.Voice.Speed * 50))
			}
			if a.Voice.Volume > 0 {
				g["volume"] = a.Voice.Volume
			}
			for k, v := range a.Vendor[Door] {
				if _, known := g[k]; known {
					g[k] = v
				}
			}
			g["id"], g["name"], g["user_id"] = id, a.Name, account
			g["created_at"], g["updated_at"] = stamp(a.CreatedAt, c.loc), stamp(a.UpdatedAt, c.loc)
			list = append(list, g)
		}
		if page*portion >= total || len(agents) == 0 {
			return list, nil
		}
	}
}

func (s *server) groupList(c *request) (*answer, error) {
	p := c.page()
	if err := c.form.err(); err != nil {
		return nil, err
	}
	list, err := c.scriptGroups(c.acts.ID, false)
	if err != nil {
		return nil, err
	}
	return &answer{message: "返回话术分组列表成功", data: cut(list, p), meta: p.meta(len(list))}, nil
}

// groupListNode lists the script groups of the account and of its sub-accounts, each at its owner. An
// installation is one cloud node, so the node of the path chooses nothing.
func (s *server) groupListNode(c *request) (*answer, error) {
	p := c.page()
	if err := c.form.err(); err != nil {
		return nil, err
	}
	accounts, err := s.Store.SubAccounts(c.ctx, c.acts.ID)
	if err != nil {
		return nil, err
	}
	list, err := c.scriptGroups(c.acts.ID, true)
	for _, a := range accounts {
		if err != nil {
			return nil, err
		}
		var more []map[string]any
		more, err = c.scriptGroups(a.ID, true)
		list = append(list, more...)
	}
	if err != nil {
		return nil, err
	}
	return &answer{message: "返回下级用户话术分组列表成功", data: cut(list, p), meta: p.meta(len(list))}, nil
}
