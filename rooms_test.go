package waihu

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mayImport is the table of docs/design.md: which rooms a room's product code may
// import. "." is the root package. Test files may import any room.
var mayImport = map[string][]string{
	".":         {},
	"cmd/waihu": nil, // nil: all
	"yunfu":     {".", "store", "live", "sheet"},
	"voicefox":  {".", "store", "live", "sheet"},
	"keyue":     {".", "store", "live", "sheet"},
	"api":       {".", "store", "live", "sheet"},
	"console":   {".", "store", "live"},
	"resources": {".", "store"},
	"store":     {"."},
	"sheet":     {},
	"queue":     {".", "store"},
	"schedule":  {".", "store"},
	"line":      {".", "sip", "call"},
	"call":      {".", "sip", "media", "audio", "agent"},
	"sip":       {"."},
	"media":     {"audio"},
	"audio":     {},
	"agent":     {".", "audio"},
	"speech":    {".", "audio", "agent", "egress"},
	"wrapup":    {".", "store", "queue", "egress"},
	"webhook":   {".", "store", "egress"},
	"egress":    {},
	"live":      {"."},
	"carrier":   {".", "audio"},
}

// databaseDrivers may be imported by store alone: the real-time half never sees the database.
var databaseDrivers = []string{"database/sql", "modernc.org/sqlite", "github.com/jackc/pgx"}

func TestRooms(t *testing.T) {
	t.Parallel()
	documented := map[string]bool{}
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "docs" || name == "examples") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		room := filepath.ToSlash(filepath.Dir(path))
		allowed, known := mayImport[room]
		if !known {
			t.Errorf("%s: %q is not a room of the house", path, room)
			return nil
		}
		seen[room] = true
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, "_test.go") {
			return nil
		}
		if file.Doc != nil && len(file.Doc.Text()) > 80 {
			documented[room] = true
		}
		checkImports(t, path, room, allowed, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for room := range seen {
		if !documented[room] {
			t.Errorf("room %q has no package comment that could be its contract", room)
		}
	}
}

func checkImports(t *testing.T, path, room string, allowed []string, file *ast.File) {
	for _, spec := range file.Imports {
		imp := strings.Trim(spec.Path.Value, `"`)
		if imp == "testing" || strings.HasPrefix(imp, "testing/") {
			t.Errorf("%s imports %s: the binary carries no test code", path, imp)
		}
		for _, driver := range databaseDrivers {
			if strings.HasPrefix(imp, driver) && room != "store" {
				t.Errorf("%s imports %s: only store knows the database", path, imp)
			}
		}
		if imp != "waihu" && !strings.HasPrefix(imp, "waihu/") {
			continue
		}
		ours := strings.TrimPrefix(strings.TrimPrefix(imp, "waihu"), "/")
		if ours == "" {
			ours = "."
		}
		if allowed != nil && !slices.Contains(allowed, ours) {
			t.Errorf("%s: room %q may not import %q", path, room, ours)
		}
	}
}
