package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"waihu/media"
)

// config is what serve needs. Each setting has one name in three places: the flag
// --name, the variable WAIHU_NAME and the key name of the file; the flag counts
// over the variable, the variable over the file.
type config struct {
	Data       string // data folder: database, recordings, key, socket
	Database   string // PostgreSQL address; empty: SQLite in Data
	HTTP       string // address of the HTTP API
	SIP        string // address of SIP, UDP and TCP
	RTP        string // "low-high" port range
	Apply      string // resources file applied at start
	KeyFile    string // 32-byte key of stored secrets
	BusyStatus int    // HTTP status that carries vendor error 6007
	PerSecond  int    // requests a second of one token
	NoImport   bool   // imports into started tasks are refused
	NoStopTime bool   // 云蝠 tasks may have no end
	Millis     bool   // durations of call records in milliseconds
	MinFreeMB  int    // dialling stops below this much free disk
	Threads    int    // media threads, 0: cores - 1
	LogLevel   string // debug, info, warn, error
	Bucket     string // where finished recordings go, https://host/bucket/prefix; empty: they stay in Data
	Region     string // of the bucket
	BucketKey  string // env:NAME or file:PATH
	BucketPass string // env:NAME or file:PATH
	Keyue      keyueConfig
	VoiceFox   voicefoxConfig
	Callbacks  callbackConfig

	crash    func(point string) // nil but in tests, which kill the process in it at named points
	jobLease time.Duration      // of the queue, 0: its default; tests kill processes and do not wait for it
	espeak   string             // the espeak-ng program; tests have their own
	simSpeed float64            // factor on the simulated carrier's ringing and announcements; the demonstration shortens them
}

// flags are all settings, those of serve.
func (c *config) flags(fs *flag.FlagSet) {
	c.ledgerFlags(fs)
	fs.StringVar(&c.HTTP, "http", "127.0.0.1:8080", "`address` of the HTTP API")
	fs.StringVar(&c.SIP, "sip", "0.0.0.0:5060", "`address` of SIP over UDP and TCP")
	fs.StringVar(&c.RTP, "rtp", "20000-29999", "UDP port `range` of RTP, outside the kernel's ephemeral ports")
	fs.StringVar(&c.Apply, "apply", "", "resources `file` applied at start")
	wholeVar(fs, &c.BusyStatus, "busy-status", 200, "HTTP `status` that carries the vendor error 6007")
	wholeVar(fs, &c.PerSecond, "token-rate", 1000, "`requests` a second that one token may make; 0 means no limit")
	fs.BoolVar(&c.NoImport, "refuse-running-import", false, "refuse imports into a started task with the vendor error 6007, as its older pages do")
	fs.BoolVar(&c.NoStopTime, "allow-missing-stop", false, "accept 云蝠 tasks without stop_time: they have no end")
	fs.BoolVar(&c.Millis, "record-milliseconds", false, "give durations of call records in milliseconds instead of seconds")
	c.Keyue.flags(fs)
	c.VoiceFox.flags(fs)
	wholeVar(fs, &c.MinFreeMB, "min-free-mb", 256, "stop dialling and importing when the data folder's disk has fewer free `megabytes`")
	c.Callbacks.flags(fs)
	fs.StringVar(&c.Bucket, "recordings-bucket", "", "`address` of an S3 bucket to which finished recordings are moved, as https://s3.example.com/bucket/prefix; empty keeps them in the data folder")
	fs.StringVar(&c.Region, "recordings-region", "", "`region` of that bucket, when its store wants one")
	fs.StringVar(&c.BucketKey, "recordings-key", "", "access `key` of the bucket, as env:NAME or file:PATH")
	fs.StringVar(&c.BucketPass, "recordings-secret", "", "`secret` of the access key, as env:NAME or file:PATH")
	wholeVar(fs, &c.Threads, "media-threads", 0, "media `threads`; 0 means one less than the cores")
}

// defaults is a config as an empty command line gives it.
func defaults() (c config) {
	c.flags(flag.NewFlagSet("", flag.ContinueOnError))
	return c
}

// ledgerFlags are the settings of the commands that find a server, or its ledger when none runs.
func (c *config) ledgerFlags(fs *flag.FlagSet) {
	fs.StringVar(&c.Data, "data", "data", "`folder` of the database, recordings, keys and the running server's socket")
	fs.StringVar(&c.Database, "database", "", "PostgreSQL `address` (postgres://...); empty keeps everything in the data folder")
	fs.StringVar(&c.KeyFile, "key-file", "", "`file` with the key of stored secrets; default DATA/secret.key, or the variable WAIHU_KEY (base64 of 32 bytes)")
	fs.StringVar(&c.LogLevel, "log-level", "info", "`level` of the log on stderr: debug, info, warn or error")
}

// load reads a command line: flags, then WAIHU_* for settings no flag gave, then the file for what is still unset. fs
// holds the command's own flags and those settings that it takes; environment and file may name every setting, so that
// all commands can share them.
func (c *config) load(std stdio, fs *flag.FlagSet, args []string, least, most int) ([]string, error) {
	all := flag.NewFlagSet(fs.Name(), flag.ContinueOnError)
	c.flags(all)
	file := ""
	for _, f := range []*flag.FlagSet{fs, all} {
		f.StringVar(&file, "config", "", "YAML `file` of settings: name: value")
	}
	words, err := parseWords(std, fs, args, least, most)
	if err != nil {
		return nil, err
	}
	set := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { set[f.Name] = true })
	if err := fromEnv(all, set, std.env); err != nil {
		return nil, err
	}
	if err := unknownEnv(all, std.environ); err != nil {
		return nil, err
	}
	if file != "" {
		if err := fromFile(all, set, file); err != nil {
			return nil, err
		}
	}
	return words, c.check()
}

func envName(setting string) string {
	return "WAIHU_" + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}

func fromEnv(fs *flag.FlagSet, set map[string]bool, env func(string) (string, bool)) error {
	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		name := envName(f.Name)
		if v, ok := env(name); ok && !set[f.Name] {
			if err := fs.Set(f.Name, v); err != nil {
				errs = append(errs, fmt.Errorf("%s=%q: %w", name, v, err))
			}
			set[f.Name] = true
		}
	})
	return errors.Join(errs...)
}

// unknownEnv refuses WAIHU_* variables that no setting knows, so that a typing error does not pass in silence.
func unknownEnv(fs *flag.FlagSet, environ []string) error {
	known := map[string]bool{"WAIHU_KEY": true}
	fs.VisitAll(func(f *flag.Flag) { known[envName(f.Name)] = true })
	var unknown []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "WAIHU_") && !strings.HasPrefix(name, "WAIHU_TEST_") && !known[name] {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	sort.Strings(unknown)
	return fmt.Errorf("unknown settings in the environment: %s (waihu serve --help lists the names)", strings.Join(unknown, ", "))
}

func fromFile(fs *flag.FlagSet, set map[string]bool, path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the settings: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(doc.Content) == 0 {
		return nil
	}
	m := doc.Content[0]
	if m.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: settings as \"name: value\" were expected", path, m.Line)
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, val := m.Content[i], m.Content[i+1]
		if first := lines[key.Value]; first > 0 {
			return fmt.Errorf("%s:%d: %s was set in line %d already: leave one of the two", path, key.Line, key.Value, first)
		}
		lines[key.Value] = key.Line
		f := fs.Lookup(key.Value)
		if f == nil || key.Value == "config" {
			return fmt.Errorf("%s:%d: unknown setting %q (waihu serve --help lists them)", path, key.Line, key.Value)
		}
		if val.Kind != yaml.ScalarNode {
			return fmt.Errorf("%s:%d: %s: a single value was expected", path, val.Line, key.Value)
		}
		if set[key.Value] {
			continue
		}
		if err := fs.Set(key.Value, val.Value); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", path, val.Line, key.Value, err)
		}
	}
	return nil
}

func (c *config) check() error {
	if c.Data == "" {
		return errors.New("--data is empty: name the folder that keeps the database and recordings")
	}
	abs, err := filepath.Abs(c.Data)
	if err != nil {
		return fmt.Errorf("--data %s: %w", c.Data, err)
	}
	c.Data = abs
	if _, _, err := c.rtpRange(); err != nil {
		return err
	}
	if _, port, err := net.SplitHostPort(c.HTTP); err != nil || port == "" {
		return fmt.Errorf("--http %q: an address such as 127.0.0.1:8080 was expected", c.HTTP)
	}
	if _, err := netip.ParseAddrPort(c.SIP); err != nil {
		return fmt.Errorf("--sip %q: an address such as 0.0.0.0:5060 was expected", c.SIP)
	}
	if err := c.Callbacks.check(); err != nil {
		return err
	}
	if c.PerSecond < 0 {
		return fmt.Errorf("--token-rate %d: 0 or more was expected", c.PerSecond)
	}
	if c.BusyStatus < 200 || c.BusyStatus > 599 {
		return fmt.Errorf("--busy-status %d: an HTTP status between 200 and 599 was expected", c.BusyStatus)
	}
	if err := c.Keyue.check(); err != nil {
		return err
	}
	if err := c.VoiceFox.check(); err != nil {
		return err
	}
	if c.MinFreeMB < 1 {
		return fmt.Errorf("--min-free-mb %d: 1 or more was expected", c.MinFreeMB)
	}
	if _, ok := logLevels[c.LogLevel]; !ok {
		return fmt.Errorf("--log-level %q: debug, info, warn or error was expected", c.LogLevel)
	}
	return nil
}

func (c *config) rtpRange() (low, high int, err error) {
	a, b, ok := strings.Cut(c.RTP, "-")
	low, err1 := strconv.Atoi(a)
	high, err2 := strconv.Atoi(b)
	if !ok || err1 != nil || err2 != nil || low < 1024 || high > 65535 || low >= high {
		return 0, 0, fmt.Errorf("--rtp %q: a range such as 20000-29999 between 1024 and 65535 was expected", c.RTP)
	}
	return low, high, nil
}

// calls is how many calls at once the RTP range carries.
func (c *config) calls() int {
	low, high, err := c.rtpRange()
	if err != nil {
		return 0 // check has said so
	}
	return media.Pairs(low, high)
}
