package store

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"waihu"
)

// keptTables are settings: what an operator or tenant wrote there is theirs to change. An erasure counts the rows that name the number.
var keptTables = []string{"accounts", "agents", "agent_versions", "callers", "hours", "lines", "named", "redial_rules", "tasks", "tokens", "endpoints", "field_names", "retention", "models",
	"agent_names", "agent_externals", "agent_jobs", "allocations", "door_keys"}

// unsweptTables hold nothing that comes from outside.
var unsweptTables = []string{"settings", "heads", "shards", "nodes", "digests", "task_lines", "runs", "reservations", "stats", "job_counts", "calls", "balances",
	"erasures", "retained"}

// column is one of a table's.
type column struct {
	table, name string
	text, key   bool // key: of the primary key, in order
	integer     bool
}

// columns are all of the schema, by table: the sweep also covers tables that are younger than it.
func (s *Store) columns(ctx context.Context) (tables map[string][]column, err error) {
	tables = map[string][]column{}
	sql := `select m.name, p.name, lower(p.type), p.pk from sqlite_master m join pragma_table_info(m.name) p where m.type = 'table' and m.name not like 'sqlite%' order by m.name, p.pk, p.cid`
	if !s.d.embedded {
		sql = `select cast(c.table_name as text), cast(c.column_name as text), cast(c.data_type as text), coalesce((select array_position(i.indkey::int2[], a.attnum) + 1 from pg_index i join pg_attribute a on a.attrelid = i.indrelid
				where i.indrelid = to_regclass(quote_ident(c.table_schema) || '.' || quote_ident(c.table_name)) and i.indisprimary and a.attname = c.column_name), 0)
			from information_schema.columns c join information_schema.tables t on t.table_schema = c.table_schema and t.table_name = c.table_name
			where c.table_schema = current_schema() and t.table_type = 'BASE TABLE' order by 1, 4, c.ordinal_position`
	}
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var c column
			var kind string
			var key int
			err := scan(&c.table, &c.name, &kind, &key)
			c.text, c.key, c.integer = strings.Contains(kind, "text") || strings.Contains(kind, "json") || strings.Contains(kind, "char"), key > 0, strings.Contains(kind, "int")
			tables[c.table] = append(tables[c.table], c)
			return err
		}, sql)
	})
	return tables, err
}

// sweep goes through every text of the accounts' rows and overwrites the number where it still stands: in jobs, batches, events,
// other people's variables. A row whose key or column "phone" it is, is deleted.
func (x *eraser) sweep(ctx context.Context) error {
	names := make([]string, 0, len(x.tables))
	for name := range x.tables {
		if !slices.Contains(unsweptTables, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		p := newSweeper(x, x.tables[name])
		if p == nil {
			continue
		}
		if err := p.run(ctx); err != nil {
			return fmt.Errorf("table %s: %w", name, err)
		}
	}
	return nil
}

// sweeper goes through one table.
type sweeper struct {
	x          *eraser
	table      string
	keys, text []column
	scope      string
	accounts   any
	keep       bool
	match      *matcher
}

// sweepPage is how many rows a statement reads; nothing holds the database between two.
const sweepPage = 1000

func newSweeper(x *eraser, cols []column) *sweeper {
	p := &sweeper{x: x, table: cols[0].table, match: newMatcher(x.forms)}
	p.keep = slices.Contains(keptTables, p.table)
	for _, c := range cols {
		if c.key {
			p.keys = append(p.keys, c)
		}
		if c.table == "suppressed_sums" && c.key { // a hash may hold short digits by chance, and with it would go somebody else's refusal
			continue
		}
		if c.text && (c.table != "numbers" || c.name != "phone") { // what is dialled was emptied before, but while a call is in progress
			p.text = append(p.text, c)
		}
	}
	if len(p.keys) == 0 || len(p.text) == 0 {
		return nil
	}
	p.scope, p.accounts = `cast($1 as text) = ''`, ""
	if x.e.Accounts == nil {
		return p
	}
	in, accounts := x.in("account", 1)
	p.accounts = accounts
	has := func(name string, integer bool) bool {
		return slices.ContainsFunc(cols, func(c column) bool { return c.name == name && c.integer == integer })
	}
	switch {
	case p.table == "accounts":
		p.scope, _ = x.in("id", 1)
	case has("account", false):
		p.scope = in
	case has("task", true):
		p.scope = `task in (select serial from tasks where ` + in + `)`
	case has("task", false):
		p.scope = `task in (select id from tasks where ` + in + `)`
	case has("call", true):
		p.scope = `call in (select c.id from calls c join tasks k on k.serial = c.task where ` + strings.ReplaceAll(in, "account", "k.account") + `)`
	case has("customer", true):
		p.scope = `customer in (select id from customers where ` + in + `)`
	case has("batch", false):
		p.scope = `batch in (select id from batches where ` + in + `)`
	case has("line", false):
		p.scope = `line in (select id from lines where ` + in + `)`
	case has("agent", false):
		p.scope = `agent in (select id from agents where ` + in + `)`
	default:
		return nil // it belongs to no account: only the whole installation may touch it
	}
	return p
}

func list(cols []column, sep string) string {
	names := make([]string, len(cols))
	for i, c := range cols {
		names[i] = c.name
	}
	return strings.Join(names, sep)
}

// run reads the table page by page in the order of its key. A text travels only when it holds the digits.
func (p *sweeper) run(ctx context.Context) error {
	after := make([]any, 0, len(p.keys)) // empty: from the start
	sel := list(p.keys, ", ")
	for _, c := range p.text {
		sel += `, case when ` + c.name + ` like '%' || cast($2 as text) || '%' then ` + c.name + ` else '' end`
	}
	for {
		where := ""
		args := []any{p.accounts, p.match.digits, sweepPage}
		if len(after) > 0 {
			params := make([]string, len(after))
			for i := range after {
				args = append(args, after[i])
				params[i] = fmt.Sprintf("$%d", len(args))
			}
			where = ` and (` + list(p.keys, ", ") + `) > (` + strings.Join(params, ", ") + `)`
		}
		var found [][]any
		n := 0
		if err := p.x.s.read(ctx, func(t *tx) error {
			return t.each(func(scan func(...any) error) error {
				key, dest := make([]any, len(p.keys)), make([]any, 0, len(p.keys)+len(p.text))
				for i := range key {
					dest = append(dest, &key[i])
				}
				texts := make([]string, len(p.text))
				for i := range texts {
					dest = append(dest, &texts[i])
				}
				if err := scan(dest...); err != nil {
					return err
				}
				n, after = n+1, key
				if slices.ContainsFunc(texts, p.match.in) {
					found = append(found, key)
				}
				return nil
			}, `select `+sel+` from `+p.table+` where `+p.scope+where+` order by `+list(p.keys, ", ")+` limit $3`, args...)
		}); err != nil {
			return err
		}
		if err := p.change(ctx, found); err != nil {
			return err
		}
		if n < sweepPage {
			return nil
		}
	}
}

// change overwrites the number in the rows with these keys, as they are now.
func (p *sweeper) change(ctx context.Context, keys [][]any) error {
	if p.keep {
		if len(keys) > 0 {
			p.x.report.Kept[p.table] += len(keys)
		}
		return nil
	}
	if len(keys) == 0 {
		return nil
	}
	p.x.touch(p.table)
	next, pending := 0, map[string]int{}
	return p.x.s.inTurns(ctx, func(t *tx, more func() bool) (bool, error) {
		for next < len(keys) {
			if err := p.row(t, keys[next], pending); err != nil {
				return false, err
			}
			next++
			if !more() || !t.s.d.embedded { // one row a transaction cannot wait in a circle with the server's other writers
				break
			}
		}
		return next == len(keys), nil
	}, func() {
		for name, n := range pending {
			p.x.report.Texts[name] += n
		}
		clear(pending)
	})
}

func (p *sweeper) row(t *tx, key []any, count map[string]int) error {
	conds := make([]string, len(key))
	for i, c := range p.keys {
		conds[i] = fmt.Sprintf("%s = $%d", c.name, i+1)
	}
	where := ` from ` + p.table + ` where ` + strings.Join(conds, " and ")
	texts, dest := make([]string, len(p.text)), make([]any, len(p.text))
	for i := range texts {
		dest[i] = &texts[i]
	}
	found, err := t.one(dest, `select `+list(p.text, ", ")+where, key...)
	if err != nil || !found {
		return err
	}
	for i, c := range p.text {
		if !p.match.in(texts[i]) {
			continue
		}
		count[p.table+"."+c.name]++
		if c.key || c.name == "phone" {
			_, err := t.exec(`delete`+where, key...)
			return err
		}
		text := texts[i]
		if p.table == "numbers" && c.name == "data" {
			if text, err = p.x.withoutMember(text); err != nil {
				return err
			}
		}
		text = p.match.replace(text)
		if p.table == "numbers" && c.name == "key" {
			text += fmt.Sprintf(" %v", key[1]) // unique in its task, as empty makes it
		}
		if _, err := t.exec(`update `+p.table+` set `+c.name+fmt.Sprintf(` = $%d`, len(key)+1)+strings.TrimPrefix(where, ` from `+p.table),
			append(key[:len(key):len(key)], text)...); err != nil {
			return err
		}
	}
	return nil
}

// withoutMember takes the number out of the phones of a person: what is overwritten there would be dialled.
func (x *eraser) withoutMember(data string) (string, error) {
	d, err := decodeData(data)
	if err != nil || len(d.Group) == 0 {
		return data, err
	}
	d.Group = slices.DeleteFunc(d.Group, func(p waihu.PhoneNumber) bool { return slices.Contains(x.forms, p) })
	return encodeData(d)
}

// matcher finds a number in a text in all its forms, and not inside a longer one. In a document a character before it may be written as \u0026,
// whose digits are not the number's.
type matcher struct {
	digits string // the digits that all forms end with
	re     *regexp.Regexp
}

func newMatcher(forms []waihu.PhoneNumber) *matcher {
	digits := strings.TrimPrefix(string(forms[0]), "+")
	for _, f := range forms {
		for !strings.HasSuffix(string(f), digits) { // a landline loses its 0 behind a country code
			digits = digits[1:]
		}
	}
	alternatives := make([]string, len(forms))
	for i, f := range forms {
		alternatives[i] = regexp.QuoteMeta(string(f))
	}
	slices.SortFunc(alternatives, func(a, b string) int { return len(b) - len(a) })
	return &matcher{digits, regexp.MustCompile(`(^|[^0-9+]|\\u[0-9a-fA-F]{4})(` + strings.Join(alternatives, "|") + `)($|[^0-9])`)}
}

func (m *matcher) in(text string) bool {
	return strings.Contains(text, m.digits) && m.re.MatchString(text)
}

// replace overwrites the number. In a document it may stand as a JSON number, which stays one.
func (m *matcher) replace(text string) string {
	document := strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[")
	for m.re.MatchString(text) { // again and again: neighbours share the character between them
		at := m.re.FindStringSubmatchIndex(text)
		from, to := at[4], at[5]
		by := Erased
		if document && bare(text, from, to) {
			by = "0"
		}
		text = text[:from] + by + text[to:]
	}
	return text
}

// bare says that what lies between the places is a JSON value without quotes.
func bare(text string, from, to int) bool {
	before := strings.TrimRight(text[:from], " \t\r\n")
	after := strings.TrimLeft(text[to:], " \t\r\n")
	if before == "" || after == "" || !strings.ContainsAny(before[len(before)-1:], ":[,") || !strings.ContainsAny(after[:1], ",]}") {
		return false
	}
	return strings.Count(strings.ReplaceAll(before, `\"`, ""), `"`)%2 == 0 // outside a string
}
