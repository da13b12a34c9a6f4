package store

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"waihu"
)

func TestCustomers(t *testing.T) {
	engines(t, func(t *testing.T, open func(Options) *Store) {
		now := time.UnixMilli(1_700_000_000_000)
		s := open(Options{Now: func() time.Time { return now }})
		w := newWorld(t, s)
		ctx := t.Context()
		full := Customer{Phone: "13800000001", Name: "张三", Email: "z@x.cn", Company: "100%_公司", Sex: 1, Operator: 3, Sort: 5, Extra: "e", Source: 1, Industry: 2, Grade: 3,
			Fields: map[string]string{"7": "黄金", "8": "一"}}
		must(t, s.SaveCustomers(ctx, acme, []Customer{full, {Phone: "13800000002", Operator: 3}, {Phone: "13800000002", Name: "李四", Sex: 2}}, map[string]string{"7": "等级"}))
		must(t, s.SaveCustomers(ctx, stranger, []Customer{{Phone: "13800000001", Name: "别人"}}, nil))
		must(t, s.SaveCustomers(ctx, acme, nil, nil))
		wantCode(t, s.SaveCustomers(ctx, acme, []Customer{{Name: "x"}}, nil), waihu.EInvalid, "customers[0]")
		wantCode(t, s.SaveCustomers(ctx, "nobody", []Customer{{Phone: "138"}}, nil), waihu.ENotFound, "")

		list, total, err := s.Customers(ctx, acme, CustomerFilter{})
		if err != nil || total != 2 || len(list) != 2 || list[0].Phone != "13800000002" || list[0].Name != "李四" || list[0].Sex != 2 || list[0].Operator != 3 {
			t.Fatalf("%+v, %d, %v", list, total, err)
		}
		full.ID, full.CreatedAt, full.UpdatedAt = list[1].ID, now, now
		if !reflect.DeepEqual(list[1], full) {
			t.Errorf("got  %+v\nwant %+v", list[1], full)
		}
		// Again: what is given counts, the rest stays.
		now = now.Add(time.Hour)
		must(t, s.SaveCustomers(ctx, acme, []Customer{{Phone: "13800000001", Name: "张三丰", Operator: 3, Fields: map[string]string{"8": "二"}}}, map[string]string{"7": "别名"}))
		list, _, err = s.Customers(ctx, acme, CustomerFilter{Phones: []string{"13800000001"}})
		must(t, err)
		full.Name, full.UpdatedAt, full.Fields = "张三丰", now, map[string]string{"7": "黄金", "8": "二"}
		if len(list) != 1 || !reflect.DeepEqual(list[0], full) {
			t.Errorf("got  %+v\nwant %+v", list, full)
		}
		names, err := s.FieldNames(ctx, acme)
		if err != nil || len(names) != 2 || names[0].ID != "7" || names[0].Name != "等级" || names[1].Name != "8" {
			t.Errorf("names %+v, %v", names, err)
		}
		// One of them is called, by a suffixed number.
		w.line("l1", 5)
		w.task("t1")
		_, err = s.AddNumbers(ctx, acme, "t1", []NewNumber{{Key: "13800000002_abc", Phone: "13800000002"}, {Phone: "13900000000"}})
		must(t, err)
		run := w.start("t1")
		w.tick(&Tick{Pops: []Pop{pop("t1", run.N, 2)}})
		yes, no := true, false
		for name, c := range map[string]struct {
			f    CustomerFilter
			want string
		}{
			"all":        {CustomerFilter{}, "2 1"},
			"phone":      {CustomerFilter{Phones: []string{"13800000002", "1"}}, "2"},
			"email":      {CustomerFilter{Email: "z@x.cn"}, "1"},
			"company":    {CustomerFilter{Company: "0%_公"}, "1"},
			"no pattern": {CustomerFilter{Company: "1_0"}, ""},
			"operator":   {CustomerFilter{Operators: []int{1, 3}}, "2 1"},
			"operator 1": {CustomerFilter{Operators: []int{1}}, ""},
			"sex":        {CustomerFilter{Sex: []int{0, 2}}, "2"},
			"followed":   {CustomerFilter{Followed: &yes}, ""},
			"called":     {CustomerFilter{Called: &yes}, "2"},
			"not called": {CustomerFilter{Called: &no}, "1"},
			"field":      {CustomerFilter{Fields: map[string]string{"7": "黄金", "8": "二"}}, "1"},
			"no field":   {CustomerFilter{Fields: map[string]string{"7": "白银"}}, ""},
			"from":       {CustomerFilter{CreatedFrom: now}, ""},
			"to":         {CustomerFilter{CreatedTo: now}, "2 1"},
			"page":       {CustomerFilter{Page: 2, PerPage: 1}, "1"},
		} {
			list, _, err := s.Customers(ctx, acme, c.f)
			got := ""
			for i, x := range list {
				if i > 0 {
					got += " "
				}
				got += x.Phone[10:]
			}
			if err != nil || got != c.want {
				t.Errorf("%s: %q want %q, %v", name, got, c.want, err)
			}
		}
		after, err := s.CustomersAfter(ctx, acme, CustomerFilter{}, full.ID, 10)
		if err != nil || len(after) != 1 || after[0].Phone != "13800000002" {
			t.Errorf("after: %+v, %v", after, err)
		}
		// Deleting.
		_, err = s.DeleteCustomers(ctx, acme, CustomerFilter{})
		wantCode(t, err, waihu.EInvalid, "")
		var many []Customer
		for i := range 250 {
			many = append(many, Customer{Phone: fmt.Sprint(15000000000 + i), Sex: 1, Fields: map[string]string{"7": "x"}})
		}
		must(t, s.SaveCustomers(ctx, acme, many, nil))
		if n, err := s.DeleteCustomers(ctx, acme, CustomerFilter{Sex: []int{1}, Fields: map[string]string{"7": "x"}}); err != nil || n != 250 {
			t.Errorf("deleted %d, %v", n, err)
		}
		if n, err := s.DeleteCustomers(ctx, acme, CustomerFilter{Phones: []string{"13800000001"}}); err != nil || n != 1 {
			t.Errorf("deleted %d, %v", n, err)
		}
		w.do(func(x *tx) error {
			var n, fields int
			if _, err := x.one(into(&n), `select count(*) from customers`); err != nil {
				return err
			}
			if _, err := x.one(into(&fields), `select count(*) from customer_fields`); err != nil || n != 2 || fields != 0 {
				t.Errorf("%d customers and %d fields are left, %v", n, fields, err)
			}
			return nil
		})
	})
}
