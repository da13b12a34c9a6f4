package keyue

import (
	"strconv"
	"strings"

	"waihu"
)

// aiobRobots lists the robots that tasks may name: those that are published.
func (s *server) aiobRobots(c *aiobRequest) (any, error) {
	name := c.body.get("robotName").text(200)
	pn, ps := c.page(listPS)
	if err := c.done(); err != nil {
		return nil, err
	}
	rows, total := []map[string]any{}, 0
	for page := 1; ; page++ {
		const per = 500
		list, all, err := s.Store.Agents(c.ctx, c.account.ID, page, per)
		if err != nil {
			return nil, err
		}
		for i := range list {
			a := &list[i]
			if a.State != waihu.AgentOnline || !strings.Contains(a.Name, name) {
				continue
			}
			if total++; total > (pn-1)*ps && total <= pn*ps {
				rows = append(rows, map[string]any{"robotId": robotWire(a), "robotName": a.Name, "callType": 3, "industryId": "", "createUserId": c.tenant, "publishUserId": c.tenant})
			}
		}
		if page*per >= all || len(list) == 0 {
			return aiobSaid{"OK", aiobPage{pn, ps, "", "", total, rows}}, nil
		}
	}
}

// aiobCallers lists the caller numbers. What the vendor knows of a number beyond itself (region, operator) is not known here.
func (s *server) aiobCallers(c *aiobRequest) (any, error) {
	pn, ps := c.page(maxPS)
	if err := c.done(); err != nil {
		return nil, err
	}
	list, err := s.Store.Callers(c.ctx, c.account.ID, "")
	if err != nil {
		return nil, err
	}
	rows := []map[string]any{}
	for i := (pn - 1) * ps; i >= 0 && i < len(list) && i < pn*ps; i++ {
		state := 1
		if list[i].State != 0 {
			state = 4
		}
		rows = append(rows, map[string]any{"id": list[i].ID, "didAreaCode": "", "didNumber": string(list[i].Number), "didType": didType(string(list[i].Number)), "didOwner": 1, "operator": 0,
			"province": "", "provinceId": "", "city": "", "cityId": "", "inOutBound": 1, "serviceNumber": "", "state": state})
	}
	return aiobPage{pn, ps, "", "", len(list), rows}, nil
}

// didType is 1 for a landline, 3 for a mobile, 4 for another number, by China's numbering plan.
func didType(number string) int {
	n := strings.TrimPrefix(strings.TrimPrefix(number, "+86"), "0086")
	switch {
	case len(n) == 11 && n[0] == '1':
		return 3
	case strings.HasPrefix(n, "0") && len(n) >= 10 && len(n) <= 12:
		return 1
	}
	return 4
}

// aiobBlock keeps a number from ever being called, by any task of the account and from whatever door.
func (s *server) aiobBlock(c *aiobRequest) (any, error) {
	n := c.body.get("identification").need()
	group, err := parseGroup(n.text(maxMobile))
	if err != nil || len(group) != 1 {
		n.wrong("应为一个号码")
	}
	if until := c.body.get("effectiveEndTime"); !until.blank() {
		until.wrong("不支持生效结束时间,黑名单在删除前一直有效")
	}
	if err := c.done(); err != nil {
		return nil, err
	}
	if err := s.Store.Suppress(c.ctx, c.account.ID, group[0], "AIOB blacklist", 0); err != nil {
		return nil, err
	}
	return aiobSaid{"OK", map[string]any{"id": c.blockID(group[0])}}, nil
}

// blockID names a suppressed number without telling it.
func (c *aiobRequest) blockID(p waihu.PhoneNumber) string {
	sum := c.s.Store.Sum([]byte("aiob blacklist\n" + string(c.account.ID) + "\n" + string(p)))
	n, err := strconv.ParseUint(sum[:13], 16, 64)
	if err != nil {
		panic("keyue: a digest that is not hexadecimal: " + err.Error())
	}
	return strconv.FormatUint(n, 10)
}

// maxUnblock is how many ids one request may name.
const maxUnblock = 200

// aiobUnblock lets numbers be called again. An unknown id among them refuses all.
func (s *server) aiobUnblock(c *aiobRequest) (any, error) {
	ids := c.body.get("ids").need().texts(maxUnblock, 30)
	if err := c.done(); err != nil {
		return nil, err
	}
	want := map[string]waihu.PhoneNumber{}
	for _, id := range ids {
		want[id] = ""
	}
	left := len(want)
	for after := waihu.PhoneNumber(""); left > 0; {
		const per = 5000
		list, err := s.Store.Suppressed(c.ctx, c.account.ID, after, per)
		if err != nil {
			return nil, err
		}
		for _, x := range list {
			after = x.Phone
			if p, asked := want[c.blockID(x.Phone)]; asked && p == "" {
				want[c.blockID(x.Phone)] = x.Phone
				left--
			}
		}
		if len(list) < per {
			break
		}
	}
	if left > 0 {
		return nil, aiobRefuse("ids：黑名单不存在")
	}
	for _, p := range want {
		if err := s.Store.Unsuppress(c.ctx, c.account.ID, p); err != nil && waihu.ErrorCode(err) != waihu.ENotFound {
			return nil, err
		}
	}
	return aiobSaid{msg: "OK"}, nil
}
