package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"waihu"
)

// Customer is a row of an account's customer pool, known by its phone number.
type Customer struct {
	ID                      int64
	Phone                   string
	Name, Email, Company    string
	Sex                     int // 0 unknown, 1 male, 2 female
	Operator                int // of the number, as the door that wrote it counts them; 0 unknown
	Followed                bool
	Sort                    int
	Extra                   string
	Source, Industry, Grade int64
	Fields                  map[string]string // further fields by id
	Called                  bool              // a task of the account has dialled the number
	CreatedAt, UpdatedAt    time.Time
}

// CustomerFilter chooses customers; zero fields do not restrict.
type CustomerFilter struct {
	Phones      []string
	Email       string
	Company     string // a part of it
	Operators   []int
	Sex         []int
	Followed    *bool
	Called      *bool
	Fields      map[string]string // all of them
	CreatedFrom time.Time
	CreatedTo   time.Time // inclusive
	Page        int       // from 1; 0 means 1
	PerPage     int       // 0 means 15, at most 5000
}

// Empty says that the filter restricts nothing.
func (f *CustomerFilter) Empty() bool {
	q, err := f.query("")
	return err == nil && len(q.where) == 1
}

// FieldName is what an account calls a further field of its customers.
type FieldName struct {
	ID, Name  string
	CreatedAt time.Time
}

// SaveCustomers puts customers into the account's pool, at most a few hundred, in one commit. A number that is there
// already gets the fields that are given and keeps the others. Names of fields are kept from their first use.
func (s *Store) SaveCustomers(ctx context.Context, account waihu.AccountID, list []Customer, names map[string]string) error {
	if len(list) == 0 {
		return nil
	}
	return s.update(ctx, normal, func(t *tx) error {
		if _, err := t.account(account); err != nil {
			return err
		}
		last, err := t.head("customers", int64(len(list)))
		if err != nil {
			return err
		}
		var rows, fields, named [][]any
		at := map[string]int{} // a number twice in the batch: one statement cannot touch a row twice
		known := map[string]bool{}
		for i, c := range list {
			if c.Phone == "" {
				return waihu.FieldErrorf(fmt.Sprintf("customers[%d]", i), "a phone number was expected")
			}
			if c.Phone == Erased { // while the import waited
				continue
			}
			row := []any{last - int64(len(list)-1-i), c.Phone, clean(c.Name), clean(c.Email), clean(c.Company), c.Sex, c.Operator, c.Sort,
				clean(c.Extra), c.Source, c.Industry, c.Grade}
			if j, twice := at[c.Phone]; twice {
				rows[j] = mergeCustomer(rows[j], row)
			} else {
				at[c.Phone] = len(rows)
				rows = append(rows, row)
			}
			for id, value := range c.Fields {
				id = clean(id)
				fields = slices.DeleteFunc(fields, func(f []any) bool { return f[0] == c.Phone && f[1] == id })
				fields = append(fields, []any{c.Phone, id, clean(value)})
				if !known[id] {
					known[id] = true
					name := clean(names[id])
					if name == "" {
						name = id
					}
					named = append(named, []any{id, name})
				}
			}
		}
		now := ms(s.now())
		if err := t.execRows(sqlSaveCustomers, rows, account, now); err != nil {
			return err
		}
		if err := t.execRows(`insert into customer_fields (customer, id, value) select c.id, r.value->>1, r.value->>2
			from {rows $1} join customers c on c.account = $2 and c.phone = r.value->>0 where true
			on conflict (customer, id) do update set value = excluded.value`, fields, account); err != nil {
			return err
		}
		return t.execRows(`insert into field_names (account, id, name, created_at) select cast($2 as text), r.value->>0, r.value->>1, cast($3 as bigint)
			from {rows $1} where true on conflict (account, id) do nothing`, named, account, now)
	})
}

const sqlSaveCustomers = `insert into customers (id, account, phone, name, email, company, sex, operator, followed, sort, extra, source, industry, grade, created_at, updated_at)
	select cast(r.value->>0 as bigint), cast($2 as text), r.value->>1, r.value->>2, r.value->>3, r.value->>4, cast(r.value->>5 as integer), cast(r.value->>6 as integer), 0,
		cast(r.value->>7 as integer), r.value->>8, cast(r.value->>9 as bigint), cast(r.value->>10 as bigint), cast(r.value->>11 as bigint), cast($3 as bigint), cast($3 as bigint)
	from {rows $1} where true
	on conflict (account, phone) do update set
		name = case when excluded.name = '' then customers.name else excluded.name end,
		email = case when excluded.email = '' then customers.email else excluded.email end,
		company = case when excluded.company = '' then customers.company else excluded.company end,
		sex = case when excluded.sex = 0 then customers.sex else excluded.sex end,
		operator = excluded.operator,
		sort = case when excluded.sort = 0 then customers.sort else excluded.sort end,
		extra = case when excluded.extra = '' then customers.extra else excluded.extra end,
		source = case when excluded.source = 0 then customers.source else excluded.source end,
		industry = case when excluded.industry = 0 then customers.industry else excluded.industry end,
		grade = case when excluded.grade = 0 then customers.grade else excluded.grade end,
		updated_at = excluded.updated_at`

// mergeCustomer is what sqlSaveCustomers does, within a batch.
func mergeCustomer(old, with []any) []any {
	out := slices.Clone(old)
	for i := 2; i < len(with); i++ {
		switch v := with[i].(type) {
		case string:
			if v != "" {
				out[i] = v
			}
		case int:
			if v != 0 {
				out[i] = v
			}
		case int64:
			if v != 0 {
				out[i] = v
			}
		}
	}
	return out
}

// sqlCalled holds for a customer whose number, suffixed or not, a task of the account has dialled.
const sqlCalled = `(exists (select 1 from tasks k join numbers n on n.task = k.serial and n.key = c.phone where k.account = c.account and k.deleted = 0 and n.attempts > 0)
	or exists (select 1 from tasks k join numbers n on n.task = k.serial and n.phone = c.phone and n.key <> n.phone where k.account = c.account and k.deleted = 0 and n.attempts > 0))`

func (f *CustomerFilter) query(account waihu.AccountID) (*query, error) {
	q := &query{}
	q.and("c.account = ?", account)
	var err error
	if len(f.Phones) > 0 {
		err = in(q, "c.phone in (select r.value->>0 from {rows ?})", f.Phones)
	}
	if err == nil && len(f.Operators) > 0 {
		err = in(q, "c.operator in (select cast(r.value->>0 as bigint) from {rows ?})", f.Operators)
	}
	if err == nil && len(f.Sex) > 0 {
		err = in(q, "c.sex in (select cast(r.value->>0 as bigint) from {rows ?})", f.Sex)
	}
	if f.Email != "" {
		q.and("c.email = ?", f.Email)
	}
	if f.Company != "" {
		q.and(`c.company like ? escape '\'`, "%"+strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(f.Company)+"%")
	}
	if f.Followed != nil {
		q.and("c.followed = ?", flag(*f.Followed))
	}
	if f.Called != nil && *f.Called {
		q.and(sqlCalled)
	} else if f.Called != nil {
		q.and("not " + sqlCalled)
	}
	for id, value := range f.Fields {
		q.and("exists (select 1 from customer_fields d where d.customer = c.id and d.id = ? and d.value = ?)", id, value)
	}
	if !f.CreatedFrom.IsZero() {
		q.and("c.created_at >= ?", ms(f.CreatedFrom))
	}
	if !f.CreatedTo.IsZero() {
		q.and("c.created_at <= ?", ms(f.CreatedTo))
	}
	return q, err
}

// Customers is one page of the account's pool, the latest first, and how many there are.
func (s *Store) Customers(ctx context.Context, account waihu.AccountID, f CustomerFilter) (list []Customer, total int, err error) {
	q, err := f.query(account)
	if err != nil {
		return nil, 0, err
	}
	limit, offset := pageOf(f.Page, f.PerPage)
	err = s.read(ctx, func(t *tx) error {
		if _, err := t.one(into(&total), `select count(*) from customers c where `+q.String(), q.args...); err != nil {
			return err
		}
		list, err = t.customers(q, ` order by c.id desc limit `+q.next(1)+` offset `+q.next(2), limit, offset)
		return err
	})
	return list, total, err
}

// CustomersAfter are up to limit customers with an id above after, by id: for going through all of them.
func (s *Store) CustomersAfter(ctx context.Context, account waihu.AccountID, f CustomerFilter, after int64, limit int) (list []Customer, err error) {
	q, err := f.query(account)
	if err != nil {
		return nil, err
	}
	q.and("c.id > ?", after)
	err = s.read(ctx, func(t *tx) error {
		list, err = t.customers(q, ` order by c.id limit `+q.next(1), limit)
		return err
	})
	return list, err
}

func (t *tx) customers(q *query, tail string, more ...any) (list []Customer, err error) {
	if err := t.each(func(scan func(...any) error) error {
		var c Customer
		var followed, called int
		var created, updated int64
		err := scan(&c.ID, &c.Phone, &c.Name, &c.Email, &c.Company, &c.Sex, &c.Operator, &followed, &c.Sort, &c.Extra, &c.Source, &c.Industry, &c.Grade,
			&created, &updated, &called)
		c.Followed, c.Called, c.CreatedAt, c.UpdatedAt = followed != 0, called != 0, at(created), at(updated)
		list = append(list, c)
		return err
	}, `select c.id, c.phone, c.name, c.email, c.company, c.sex, c.operator, c.followed, c.sort, c.extra, c.source, c.industry, c.grade, c.created_at, c.updated_at,
		case when `+sqlCalled+` then 1 else 0 end from customers c where `+q.String()+tail, q.with(more...)...); err != nil {
		return nil, err
	}
	index, ids := map[int64]int{}, make([][]any, len(list))
	for i := range list {
		index[list[i].ID], ids[i] = i, []any{list[i].ID}
	}
	param, err := jsonRows(ids)
	if err != nil || len(list) == 0 {
		return list, err
	}
	return list, t.each(func(scan func(...any) error) error {
		var customer int64
		var id, value string
		if err := scan(&customer, &id, &value); err != nil {
			return err
		}
		c := &list[index[customer]]
		if c.Fields == nil {
			c.Fields = map[string]string{}
		}
		c.Fields[id] = value
		return nil
	}, `select customer, id, value from customer_fields where customer in (select cast(r.value->>0 as bigint) from {rows $1})`, param)
}

// DeleteCustomers takes out of the pool what the filter chooses, in slices that give way to ticks, and says how
// many. A filter that restricts nothing is refused. Numbers in tasks stay.
func (s *Store) DeleteCustomers(ctx context.Context, account waihu.AccountID, f CustomerFilter) (n int, err error) {
	if f.Empty() {
		return 0, waihu.Errorf(waihu.EInvalid, "a filter was expected: the whole pool is not deleted at once")
	}
	q, err := f.query(account)
	if err != nil {
		return 0, err
	}
	pending := 0
	err = s.inTurns(ctx, func(t *tx, more func() bool) (bool, error) {
		pending = 0
		for {
			var ids [][]any
			if err := t.each(func(scan func(...any) error) error {
				var id int64
				err := scan(&id)
				ids = append(ids, []any{id})
				return err
			}, `select c.id from customers c where `+q.String()+` order by c.id limit `+q.next(1), q.with(erasePortion)...); err != nil {
				return false, err
			}
			if len(ids) == 0 {
				return true, nil
			}
			for _, sql := range []string{`delete from customer_fields where customer in (select cast(r.value->>0 as bigint) from {rows $1})`,
				`delete from customers where id in (select cast(r.value->>0 as bigint) from {rows $1})`} {
				if err := t.execRows(sql, ids); err != nil {
					return false, err
				}
			}
			pending += len(ids)
			if !more() {
				return false, nil
			}
		}
	}, func() { n += pending })
	return n, err
}

// FieldNames are the further fields that the account's customers have had, by first use.
func (s *Store) FieldNames(ctx context.Context, account waihu.AccountID) (list []FieldName, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var f FieldName
			var created int64
			err := scan(&f.ID, &f.Name, &created)
			f.CreatedAt = at(created)
			list = append(list, f)
			return err
		}, `select id, name, created_at from field_names where account = $1 order by created_at, id`, account)
	})
	return list, err
}
