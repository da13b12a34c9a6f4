package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"waihu/sheet"
)

// TestImportFiles: both formats, refused rows by line, files that are none.
func TestImportFiles(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	expect(t, 0, "created", "apply", writeFile(t, testResources+`tasks:
  - {id: files, name: files, agent: goodbye, calling_hours: 1, concurrency: 2, start: "2024-01-01", stop: "2099-01-01"}
`), "--data", data)

	said := expect(t, 0, "2 numbers imported, 1 were in the task already, 2 rows refused", "import", "files",
		writeFile(t, "name,phone\n甲,13900000001\n乙,139x\n丙,13900000001\n丁,\n戊,13900000002\n"), "--data", data)
	for _, line := range []string{"line 3 refused: ", "line 4: the number is in the task already", "line 5 refused: "} {
		if !strings.Contains(said, line) {
			t.Errorf("the report does not say %q:\n%s", line, said)
		}
	}
	book := xlsxFile(t, [][]string{{"手机号", "姓名"}, {"13900000003", "己"}, {"bad", "庚"}, {"13900000004", "辛"}})
	if said := expect(t, 0, "2 numbers imported, 0 were in the task already, 1 rows refused", "import", "files", book, "--data", data); !strings.Contains(said, "line 3 refused") {
		t.Errorf("the report does not name line 3:\n%s", said)
	}
	whole, err := os.ReadFile(book)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, 1, "workbook", "import", "files", writeFile(t, string(whole[:len(whole)/2])), "--data", data)
	expect(t, 1, "neither CSV text nor an XLSX workbook", "import", "files", writeFile(t, "\x7fELF\x00\x01\x02\x00\x00\x01"), "--data", data)
	expect(t, 1, "no column holds phone numbers", "import", "files", writeFile(t, "a,b\n1,2\n"), "--data", data)
	expect(t, 1, "is a folder", "import", "files", t.TempDir(), "--data", data)
	expect(t, 1, "no such file", "import", "files", filepath.Join(data, "none.csv"), "--data", data)
	expect(t, 1, `there is no task "nope"`, "import", "nope", writeFile(t, "13900000001\n"), "--data", data)
	slip := filepath.Join(t.TempDir(), "slip")
	expect(t, 1, "there is no ledger in "+slip, "import", "files", writeFile(t, "13900000001\n"), "--data", slip)
	if _, err := os.Stat(slip); err == nil {
		t.Error("a slip of the pen made a ledger")
	}
	expect(t, 1, `there is no account "nobody"; there are: 5832d184-dd53-42a0-8ace-0bf8d660f4cc (test)`, "token", "nobody", "--data", data)
}

func xlsxFile(t *testing.T, rows [][]string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := sheet.NewXLSXWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return writeFile(t, b.String())
}

// TestImportInterrupted: the command says exactly how many numbers stay, with a server and without, and the same file adds
// the rest.
func TestImportInterrupted(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("running=%v", running), func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			expect(t, 0, "created", "apply", writeFile(t, testResources+`tasks:
  - {id: long, name: long, agent: goodbye, calling_hours: 1, concurrency: 2, start: "2024-01-01", stop: "2099-01-01"}
`), "--data", data)
			if running {
				startServe(t, data)
			}
			const rows = 30000
			var text strings.Builder
			for i := range rows {
				if i == 3*importBatch {
					text.WriteString("nonsense\n") // said after two batches: the signal comes then
				}
				fmt.Fprintf(&text, "139%08d\n", i)
			}
			file := writeFile(t, text.String())
			signals := make(chan os.Signal, 2)
			out := &signalWhen{words: "refused", signals: signals}
			code := run(t.Context(), stdio{out: out, err: out, env: noEnv, signals: signals}, []string{"import", "long", file, "--data", data})
			m := regexp.MustCompile(`interrupted: (\d+) numbers imported`).FindStringSubmatch(out.String())
			if code != 1 || m == nil {
				t.Fatalf("exit %d: %s", code, out.String())
			}
			var stays int
			if _, err := fmt.Sscan(m[1], &stays); err != nil || stays == 0 || stays >= rows {
				t.Fatalf("%s numbers stay: an interruption in the middle was wanted", m[1])
			}
			expect(t, 0, fmt.Sprintf("%d numbers imported, %d were in the task already", rows-stays, stays), "import", "long", file, "--data", data)
		})
	}
}

// TestImportBrokenOff: when the sender dies in the middle of a row, that row is not taken for a whole one.
func TestImportBrokenOff(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	st, err := openStore(t.Context(), config{Data: data}, noEnv, newLog(io.Discard, "error"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	err = applyResources(t.Context(), st, "test.yaml", []byte(testResources+`tasks:
  - {id: broken, name: broken, agent: goodbye, calling_hours: 1, concurrency: 2, start: "2024-01-01", stop: "2099-01-01"}
`), 0, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	body := io.MultiReader(strings.NewReader("13900000001\n13900000002\n139000000"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if err := importNumbers(t.Context(), st, "broken", body, func(message) {}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v, want one that says that the file ended too early", err)
	}
	for _, n := range allNumbers(t, st, "broken") {
		if n.Phone != "13900000001" && n.Phone != "13900000002" {
			t.Errorf("half a row was imported: %s", n.Phone)
		}
	}
}
