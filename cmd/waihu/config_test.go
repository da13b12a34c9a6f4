package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func load(c *config, std stdio, args ...string) ([]string, error) {
	fs := newFlags("serve")
	c.flags(fs)
	return c.load(std, fs, args, 0, 0)
}

func noEnv(string) (string, bool) { return "", false }

func TestConfigPrecedence(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(file, []byte("http: 127.0.0.1:1\nrtp: 12000-12999\nlog-level: warn\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"WAIHU_HTTP": "127.0.0.1:2", "WAIHU_RTP": "13000-13999"}[name]
		return v, ok
	}
	var c config
	if _, err := load(&c, stdio{env: env}, "--config", file, "--rtp", "14000-14999"); err != nil {
		t.Fatal(err)
	}
	if c.RTP != "14000-14999" || c.HTTP != "127.0.0.1:2" || c.LogLevel != "warn" {
		t.Errorf("rtp %s (flag), http %s (environment), log-level %s (file): the flag counts over the environment, that over the file", c.RTP, c.HTTP, c.LogLevel)
	}
}

func TestConfigRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(text string) string {
		f, err := os.CreateTemp(dir, "*.yaml")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	for _, c := range []struct {
		name string
		args []string
		say  string
	}{
		{"a key twice in the file", []string{"--config", write("http: 127.0.0.1:1\nsip: 127.0.0.1:2\nhttp: 127.0.0.1:3\n")}, ":3: http was set in line 1 already"},
		{"unknown key in the file", []string{"--config", write("http: 127.0.0.1:1\nhtpp: x\n")}, ":2: unknown setting \"htpp\""},
		{"list in the file", []string{"--config", write("http: [1]\n")}, ":1: http: a single value"},
		{"not a mapping", []string{"--config", write("- http\n")}, "settings as \"name: value\""},
		{"range the wrong way", []string{"--rtp", "30000-20000"}, "--rtp"},
		{"no range", []string{"--rtp", "20000"}, "--rtp"},
		{"no address", []string{"--sip", "five"}, "--sip"},
		{"no rate", []string{"--token-rate", "-1"}, "--token-rate"},
		{"no status", []string{"--busy-status", "42"}, "--busy-status"},
		{"no HTTP address", []string{"--http", "8080"}, "--http \"8080\": an address such as"},
		{"no number", []string{"--min-free-mb", "few"}, "a whole number was expected"},
		{"no disk to keep free", []string{"--min-free-mb", "0"}, "--min-free-mb 0: 1 or more was expected"},
		{"unknown flag", []string{"--htpp", "x"}, "-htpp"},
		{"no level", []string{"--log-level", "loud"}, "--log-level"},
		{"no unit", []string{"--voicefox-retry-unit", "hour"}, "--voicefox-retry-unit"},
		{"stray word", []string{"now"}, "takes no argument"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var cfg config
			_, err := load(&cfg, stdio{env: noEnv}, c.args...)
			if err == nil || !strings.Contains(err.Error(), c.say) {
				t.Errorf("error %v, want one that says %q", err, c.say)
			}
		})
	}
	var cfg config
	if _, err := load(&cfg, stdio{env: noEnv, environ: []string{"PATH=/bin", "WAIHU_HTTP=x", "WAIHU_CONFIG=x", "WAIHU_TEST_POSTGRES=x", "WAIHU_HTPP=y"}}); err == nil || !strings.Contains(err.Error(), "WAIHU_HTPP") {
		t.Errorf("error %v, want one that names WAIHU_HTPP", err)
	}
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		code int
		say  string
	}{
		{nil, 2, "waihu demo"},
		{[]string{"help"}, 0, "waihu serve"},
		{[]string{"--help"}, 0, "waihu serve"},
		{[]string{"help", "import"}, 0, "usage: waihu import TASK FILE [settings]"},
		{[]string{"serve", "--help"}, 0, "--min-free-mb MEGABYTES"},
		{[]string{"trunk", "check", "--help"}, 0, "--call NUMBER"},
		{[]string{"bench", "--help"}, 0, "waihu bench schedule --help"},
		{[]string{"trunk", "kick", "x"}, 2, "\"kick\": check was expected"},
		{[]string{"apply", "a", "b"}, 2, "\"b\" is one argument too many"},
		{[]string{"sevre"}, 2, "there is no command \"sevre\""},
		{[]string{"apply"}, 2, "usage: waihu apply FILE"},
		{[]string{"import", "task"}, 2, "usage: waihu import TASK FILE"},
		{[]string{"trunk", "kick", "x"}, 2, "usage: waihu trunk"},
		{[]string{"bench", "nothing"}, 2, "usage: waihu bench"},
		{[]string{"apply", "/nonexistent/file.yaml"}, 1, "no such file"},
	} {
		var out bytes.Buffer
		code := run(context.Background(), stdio{out: &out, err: &out, env: noEnv}, c.args)
		if code != c.code || !strings.Contains(out.String(), c.say) {
			t.Errorf("waihu %v: code %d, want %d; it said %q, want %q in it", c.args, code, c.code, out.String(), c.say)
		}
	}
}

// TestDocumentedSettings: the settings file of docs/operations.md is taken as it stands, and the page's flags exist.
func TestDocumentedSettings(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```yaml\n")
	text, _, _ = strings.Cut(text, "```")
	file := filepath.Join(t.TempDir(), "waihu.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var c config
	if _, err := load(&c, stdio{env: noEnv}, "--config", file); err != nil {
		t.Fatal(err)
	}
	if c.Data != "/var/lib/waihu" || c.MinFreeMB != 2048 {
		t.Errorf("data %s, min-free-mb %d: the page says otherwise", c.Data, c.MinFreeMB)
	}
	fs := newFlags("serve")
	new(config).flags(fs)
	fs.String("config", "", "")
	fs.String("call", "", "") // of trunk check
	fs.Bool("help", false, "")
	for _, m := range regexp.MustCompile("`--([a-z-]+)").FindAllStringSubmatch(string(page), -1) {
		if m[1] != "name" && fs.Lookup(m[1]) == nil {
			t.Errorf("docs/operations.md names --%s, which no command has", m[1])
		}
	}
}
