package api

import (
	"bufio"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"waihu"
	"waihu/sheet"
	"waihu/store"
)

func TestExport(t *testing.T) {
	t.Parallel()
	a := newAfter(t)
	a.add(store.NewNumber{Phone: "+8613800000001", Data: waihu.NumberData{Vars: map[string]string{"name": "=HYPERLINK(\"http://x\")", "age": "-5"}}},
		store.NewNumber{Phone: "13800000002", Data: waihu.NumberData{Vars: map[string]string{"name": "@SUM(1)"}, Extra: "\tx", Route: "+cmd|' /C calc'!A0"}})
	a.start()
	a.dial(1, func(b *store.Booking) {
		b.Outcome.Transcript = []waihu.Turn{{Who: "agent", Text: "您好"}, {Who: "callee", Text: "=1+1"}, {Who: "callee", Text: "部分", Partial: true}}
		b.Outcome.Collected = map[string]string{"a": "b"}
		a.recorded(b)
	})
	table := func(path string) [][]string {
		t.Helper()
		res, body := a.get("main", a.url+path)
		if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/csv") || !strings.Contains(res.Header.Get("Content-Disposition"), ".csv") {
			t.Fatalf("%s: %d %v %s", path, res.StatusCode, res.Header, body)
		}
		rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(body, "\ufeff"))).ReadAll()
		a.must(err)
		return rows
	}
	numbers := fmt.Sprintf("/api/v1/tasks/%s/numbers/export", a.task)
	calls := fmt.Sprintf("/api/v1/tasks/%s/calls/export", a.task)
	rows := table(numbers)
	if len(rows) != 3 || rows[0][0] != "number" || rows[0][14] != "var_age" || rows[1][0] != "+8613800000001" || rows[1][3] != "answered" {
		t.Errorf("%q", rows)
	}
	for _, row := range append(rows, table(calls+"?transcript=1")...) {
		for _, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) && strings.Trim(cell[1:], "0123456789.") != "" {
				t.Errorf("a cell that would be computed: %q", cell)
			}
		}
	}
	rows = table(calls + "?transcript=1")
	if len(rows) != 2 || rows[1][10] != "3.0" || rows[1][18] != "agent: 您好\ncallee: =1+1" || rows[1][15] != `{"a":"b"}` {
		t.Errorf("%q", rows)
	}
	if rows = table(calls); len(rows[0]) != 18 {
		t.Errorf("a transcript that nobody asked for: %q", rows)
	}
	res, body := a.get("main", a.url+numbers+"?format=xlsx")
	book, err := excelize.OpenReader(strings.NewReader(body))
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%d %v", res.StatusCode, err)
	}
	if got, err := book.GetRows("Sheet1"); err != nil || len(got) != 3 || got[1][0] != "+8613800000001" || got[1][15] != "=HYPERLINK(\"http://x\")" || got[2][12] != "\tx" {
		t.Errorf("%q %v", got, err)
	}
	if f, err := book.GetCellFormula("Sheet1", "P2"); f != "" || err != nil {
		t.Errorf("a formula: %q %v", f, err)
	}
	for path, want := range map[string]int{numbers + "?format=pdf": 422, "/api/v1/tasks/nothing/numbers/export": 404} {
		if status, raw := a.do("main", "GET", path, ""); status != want {
			t.Errorf("%s: %d %s", path, status, raw)
		}
	}
}

// TestExportOfMillions: what an export keeps in memory does not grow with its rows. The rows are made here, so that the test measures the
// export and not an import.
func TestExportOfMillions(t *testing.T) {
	total := int64(200_000 / raceScale) // a million take ten seconds and not a byte more
	base := heap()
	most, pages := uint64(0), 0
	page := func(after int64) ([]waihu.Number, error) {
		pages++
		if pages%50 == 0 {
			most = max(most, heap())
		}
		list := make([]waihu.Number, 0, numbersPage)
		for seq := after + 1; seq <= total && len(list) < numbersPage; seq++ {
			list = append(list, waihu.Number{Seq: seq, Phone: waihu.PhoneNumber(fmt.Sprint(13800000000 + seq)), Key: fmt.Sprint(seq), Data: waihu.NumberData{Vars: map[string]string{"name": "王小明"}}})
		}
		return list, nil
	}
	for _, format := range []string{"csv", "xlsx"} {
		var size count
		w, err := NewTable(format, &size)
		if err != nil {
			t.Fatal(err)
		}
		n, err := writeNumbers(page, time.UTC, w)
		if err == nil {
			err = w.Close()
		}
		if err != nil || int64(n) != total {
			t.Fatalf("%s: %d rows, %v", format, n, err)
		}
		if grown := int64(most) - int64(base); grown > 16<<20 {
			t.Errorf("%s: %d rows took %d MB of memory", format, n, grown>>20)
		}
		t.Logf("%s: %d rows, %d MB written, heap at most %d KB above the start", format, n, size>>20, (int64(most)-int64(base))>>10)
	}
	if numbersPage > 5000 || callsPage > 5000 {
		t.Error("a page has at most 5,000 rows: design.md")
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

type count int64

func (c *count) Write(b []byte) (int, error) {
	*c += count(len(b))
	return len(b), nil
}

// TestStalledExport: while a download stands still nothing of the database is held: the log can be cut to nothing, and what is written meanwhile
// does not pile up in it. Then the download goes on and is whole.
func TestStalledExport(t *testing.T) {
	t.Parallel()
	a := newAfter(t)
	rng := rand.New(rand.NewPCG(1, 1))
	total := 700 // few and large: what counts is bytes
	list := make([]store.NewNumber, total)
	for i := range list {
		noise := make([]byte, 10_000) // together more than the sockets' buffers take, also when compressed
		for j := range noise {
			noise[j] = byte(rng.Uint32())
		}
		list[i] = store.NewNumber{Phone: waihu.PhoneNumber(fmt.Sprint(13800000000 + i)), Data: waihu.NumberData{Extra: hex.EncodeToString(noise)}}
	}
	a.add(list...)
	over := make(chan struct{}, 2)
	door := New(a.o)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		door.ServeHTTP(w, r)
		over <- struct{}{}
	}))
	t.Cleanup(server.Close)
	formats := []string{"csv", "xlsx"}
	if raceScale > 1 {
		formats = formats[:1] // a workbook is read by the same pages, and unpacked slowly
	}
	for _, format := range formats {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		a.must(err)
		a.must(conn.(*net.TCPConn).SetReadBuffer(64 << 10))
		_, err = fmt.Fprintf(conn, "GET /api/v1/tasks/%s/numbers/export?format=%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer main\r\nConnection: close\r\n\r\n", a.task, format)
		a.must(err)
		in := bufio.NewReader(conn)
		_, err = in.Peek(1) // it has begun; from now on nothing is taken
		a.must(err)
		for i := range 3 {
			// An erasure ends by cutting the log, which a reader with an open transaction would refuse.
			if _, err := a.Erase(t.Context(), store.Erasure{Phone: waihu.PhoneNumber(fmt.Sprint(13900000000 + i)), Accounts: []waihu.AccountID{"other"}}); err != nil {
				t.Fatalf("during a stalled %s download: %v", format, err)
			}
			if info, err := os.Stat(filepath.Join(a.dir, "waihu.db-wal")); err != nil || info.Size() != 0 {
				t.Errorf("the log has %d bytes during a stalled %s download, %v", info.Size(), format, err)
			}
			a.must(a.Suppress(t.Context(), "main", waihu.PhoneNumber(fmt.Sprint(13700000000+i)), format, 0))
		}
		select {
		case <-over:
			t.Fatalf("the %s download did not stall: this test proves nothing", format)
		default:
		}
		a.must(conn.(*net.TCPConn).SetReadBuffer(4 << 20)) // small windows are slow
		res, err := http.ReadResponse(in, nil)
		a.must(err)
		table, err := sheet.NewReader(res.Body, sheet.Limits{})
		a.must(err)
		n := 0
		for _, err := range table.All() {
			a.must(err)
			n++
		}
		a.must(table.Close())
		conn.Close()
		<-over
		if n != total+1 {
			t.Errorf("the %s download has %d rows of %d", format, n, total+1)
		}
	}
}

// TestExportsAtOnce: an account's downloads are bounded, another's are not touched.
func TestExportsAtOnce(t *testing.T) {
	t.Parallel()
	var c counter
	for range exportsAtOnce {
		if !c.begin("a") {
			t.Fatal("refused too early")
		}
	}
	if c.begin("a") || !c.begin("b") {
		t.Error("the bound is not the account's")
	}
	c.end("a")
	if !c.begin("a") {
		t.Error("an end frees nothing")
	}
}
