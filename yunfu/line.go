package yunfu

import "waihu"

// lineRow is a line of new_line_list. What belongs to the vendor's switch is empty; how a trunk is reached is
// nobody's affair over this door.
type lineRow struct {
	ID            waihu.LineID    `json:"id"`
	Node          string          `json:"robot_cli_node_id"`
	UserID        waihu.AccountID `json:"user_id"`
	GatewayID     int             `json:"gateway_id"`
	ExtensionID   any             `json:"extension_id"`
	Name          string          `json:"name"`
	Description   string          `json:"description"`
	Type          int             `json:"type"`
	CallLine      int             `json:"call_line"`
	Prefix        string          `json:"call_number_prefix"`
	Caller        string          `json:"origination_caller_id_number"`
	DialString    string          `json:"dial_string"`
	DestPrefix    string          `json:"destination_prefix"`
	Created       string          `json:"created_at"`
	Updated       string          `json:"updated_at"`
	BindTypeStr   string          `json:"bind_type_str"`
	Allocations   []allocationRow `json:"line_allocation"`
	Residue       int             `json:"residue"`
	AvailableTime string          `json:"available_at"`
}

// lineList lists the lines that the token's account may use, or with user_id the lines of that account, with what is
// allocated of them: to anybody, for the line's owner, else to the account. The cloud node asked for chooses nothing: an installation
// is one node.
func (s *server) lineList(c *request) (*answer, error) {
	p := c.page()
	account := c.acts
	if n := c.form.get("user_id"); !n.blank() {
		id := n.id()
		if err := c.form.err(); err != nil {
			return nil, err
		}
		var err error
		if account, err = s.reach(c.ctx, c.user.ID, id); err != nil {
			return nil, err
		}
	}
	if err := c.form.err(); err != nil {
		return nil, err
	}
	lines, err := s.Store.Lines(c.ctx, account.ID)
	if err != nil {
		return nil, err
	}
	residue, err := s.Store.Residue(c.ctx, account.ID, "")
	if err != nil {
		return nil, err
	}
	allocations, err := s.Store.Allocations(c.ctx, account.ID)
	if err != nil {
		return nil, err
	}
	data := []lineRow{}
	for _, l := range cut(lines, p) {
		row := lineRow{ID: l.ID, Node: l.Node, UserID: l.Account, Name: l.Name, Description: l.Remark, Type: 1, CallLine: l.Concurrency,
			BindTypeStr: "IP", Allocations: []allocationRow{}, Residue: residue[l.ID], AvailableTime: neverExpires,
			Created: stamp(l.CreatedAt, c.loc), Updated: stamp(l.UpdatedAt, c.loc)}
		if len(l.Trunk.CallerIDs) > 0 {
			row.Caller = l.Trunk.CallerIDs[0]
		}
		for i := range allocations {
			if allocations[i].Line == l.ID {
				row.Allocations = append(row.Allocations, c.allocationRow(&allocations[i], l.Price.Minute))
			}
		}
		if !l.Expires.IsZero() {
			row.AvailableTime = stamp(l.Expires, c.loc)
		}
		data = append(data, row)
	}
	return &answer{message: "返回所属代理线路列表成功", data: data, meta: p.meta(len(lines))}, nil
}
