package yunfu

import (
	"encoding/json"
	"net/http"
	"slices"

	"waihu"
	"waihu/store"
)

// allocationRow is a part of a line that an account has been given, as the rows of new_line_list hold it.
type allocationRow struct {
	ID          int64           `json:"id"`
	LineID      waihu.LineID    `json:"line_id"`
	BelongUser  waihu.AccountID `json:"belong_user"`
	Name        any             `json:"name"`
	Concurrency int             `json:"line_concurrency"`
	Price       json.Number     `json:"price"`
	AgentCost   json.Number     `json:"agent_cost"` // what the line itself costs
	Begin       string          `json:"begin_at"`
	Deadline    any             `json:"deadline_at"`
	Available   int64           `json:"available_time"` // seconds until then, 0 when over
	Created     string          `json:"created_at"`
	Groups      []any           `json:"group_ids"` // ours
}

func (c *request) allocationRow(a *store.Allocation, cost int64) allocationRow {
	r := allocationRow{ID: a.ID, LineID: a.Line, BelongUser: a.Account, Name: textOrNull(a.Name), Concurrency: a.Concurrency, Price: yuan(a.Price),
		AgentCost: yuan(store.Money(cost)), Begin: stamp(a.Begin, c.loc), Deadline: stampOrNull(a.Deadline, c.loc), Created: stamp(a.CreatedAt, c.loc), Groups: []any{}}
	if !a.Deadline.IsZero() {
		r.Available = max(0, int64(a.Deadline.Sub(c.s.Now()).Seconds()))
	}
	for _, id := range a.Agents {
		r.Groups = append(r.Groups, scriptID(id))
	}
	return r
}

// lender is the account whose lines the request gives away: the main account. A sub-account's token gives nothing.
func (c *request) lender() (waihu.AccountID, error) {
	switch {
	case c.acts.Parent == "":
		return c.acts.ID, nil
	case c.token.Account == c.acts.ID:
		return "", refused(http.StatusForbidden, "子账户不能分配线路,请使用主账户的 token")
	}
	return c.acts.Parent, nil
}

// lineAllocate gives the account a part of a line of its main account's, or changes what it has of it. Without a price
// of its own the part costs what the line does: one that cost nothing would be given away unnoticed. A change
// leaves the price and the deadline that it does not name.
func (s *server) lineAllocate(c *request) (*answer, error) {
	owner, err := c.lender()
	if err != nil {
		return nil, err
	}
	a := store.Allocation{Line: waihu.LineID(c.r.PathValue("line_id")), Account: c.acts.ID, Concurrency: c.form.get("line_concurrency").need("线路并发").number(1, 1<<20)}
	price, deadline := c.form.get("price"), c.form.get("deadline_at")
	if a.Deadline = deadline.when(c.loc, true); !price.blank() {
		a.Price = price.price()
	}
	if err := c.form.err(); err != nil {
		return nil, err
	}
	line, err := s.Store.Line(c.ctx, owner, a.Line)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		err = refused(http.StatusNotFound, "线路不存在")
	}
	if err != nil {
		return nil, err
	}
	if a.Concurrency > line.Concurrency {
		return nil, wrong("line_concurrency", "最多为线路并发 %d", line.Concurrency)
	}
	if price.blank() {
		a.Price = store.Money(line.Price.Minute)
	}
	given, err := s.Store.Allocations(c.ctx, owner)
	if err != nil {
		return nil, err
	}
	for _, old := range given {
		if old.Line != a.Line || old.Account != a.Account {
			continue
		}
		if price.blank() {
			a.Price = old.Price
		}
		if !deadline.has { // an empty one takes the end away
			a.Deadline = old.Deadline
		}
	}
	if a, err = s.Store.Allocate(c.ctx, owner, a); err != nil {
		return nil, err
	}
	return &answer{message: "分配线路成功", data: c.allocationRow(&a, line.Price.Minute)}, nil
}

var noAllocation = refused(http.StatusNotFound, "线路分配记录不存在")

// lineRelease takes back what the account has been given. A main account's address reaches all that it has given: the
// id alone says which, and the vendor's user_id in paths is the main account's.
func (s *server) lineRelease(c *request) (*answer, error) {
	owner, err := c.lender()
	if err != nil {
		return nil, err
	}
	id, ok := digits(c.r.PathValue("id"), 18)
	if !ok {
		return nil, noAllocation
	}
	holder := c.acts.ID
	if holder == owner {
		list, err := s.Store.Allocations(c.ctx, owner)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(list, func(a store.Allocation) bool { return a.ID == int64(id) })
		if i < 0 {
			return nil, noAllocation
		}
		holder = list[i].Account
	}
	err = s.Store.Deallocate(c.ctx, owner, holder, int64(id))
	if waihu.ErrorCode(err) == waihu.ENotFound {
		err = noAllocation
	}
	return &answer{message: "解除线路绑定用户成功", data: ""}, err
}

// lineBind says for which scripts an allocation is; it is kept and shown, and changes nothing.
func (s *server) lineBind(c *request) (*answer, error) {
	if c.acts.Parent != "" {
		return nil, refused(http.StatusForbidden, "仅主账户可以绑定话术")
	}
	id := c.form.get("id").need("线路分配 id").int64()
	groups := []waihu.AgentID{}
	for _, n := range c.form.get("group_ids").need("话术分组").words() {
		agent := waihu.AgentID(n.id())
		if _, err := s.Store.Agent(c.ctx, c.acts.ID, agent); waihu.ErrorCode(err) == waihu.ENotFound {
			n.fail("话术分组不存在")
		} else if err != nil {
			return nil, err
		}
		groups = append(groups, agent)
	}
	if err := c.form.err(); err != nil {
		return nil, err
	}
	list, err := s.Store.Allocations(c.ctx, c.acts.ID)
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		if a.ID == id {
			err := s.Store.BindAgents(c.ctx, c.acts.ID, a.Account, id, groups)
			return &answer{message: "线路绑定话术成功", data: ""}, err
		}
	}
	return nil, noAllocation
}
