package main

import (
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"waihu"
	"waihu/api"
	"waihu/egress"
	"waihu/keyue"
	"waihu/schedule"
	"waihu/voicefox"
	"waihu/webhook"
	"waihu/yunfu"
)

// callbackConfig are the settings of what goes out to addresses that tenants give us.
type callbackConfig struct {
	Allow      string // networks that are not public and may be called all the same
	BlockAfter int    // failures in a row
	BlockFor   int    // minutes
	Public     string // how customers reach this server
}

func (c *callbackConfig) flags(fs *flag.FlagSet) {
	fs.StringVar(&c.Allow, "callback-allow", "", "`networks` that are not public and may be called all the same, such as 10.1.0.0/16,127.0.0.1/32")
	wholeVar(fs, &c.BlockAfter, "callback-block-after", 18, "`failures` in a row after which an endpoint is blocked: 18 take about four minutes")
	fs.StringVar(&c.Public, "public-url", "", "`address` at which customers reach this server, for links in callbacks, such as https://calls.example.com; default that of --http")
	wholeVar(fs, &c.BlockFor, "callback-block-minutes", 120, "`minutes` for which it is blocked")
}

func (c *callbackConfig) check() error {
	if c.BlockAfter < 0 || c.BlockFor < 0 { // 0 is what tests leave: the defaults
		return fmt.Errorf("--callback-block-after %d, --callback-block-minutes %d: positive numbers were expected", c.BlockAfter, c.BlockFor)
	}
	if u, err := url.Parse(c.Public); err != nil || c.Public != "" && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "") {
		return fmt.Errorf("--public-url %q: an address such as https://calls.example.com was expected", c.Public)
	}
	_, err := c.networks()
	return err
}

// networks reads the list; a single address is a network of one.
func (c *callbackConfig) networks() (list []netip.Prefix, err error) {
	for _, text := range strings.FieldsFunc(c.Allow, func(r rune) bool { return r == ',' || r == ' ' }) {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, e := netip.ParseAddr(text)
			if e != nil {
				return nil, fmt.Errorf("--callback-allow: %q is not a network: one such as 10.1.0.0/16 was expected", text)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		list = append(list, p.Masked())
	}
	return list, nil
}

// newEgress makes the one client for addresses that tenants give us.
func newEgress(cfg config) (*egress.Client, error) {
	allow, err := cfg.Callbacks.networks()
	if err != nil {
		return nil, err
	}
	return egress.New(egress.Options{Allow: allow}), nil
}

// checkURL says what stands against an address that a client names for callbacks.
func (s *server) checkURL(address string) error { return s.out.CheckURL(address) }

// shapes are what endpoints can be told, by door.
func (s *server) shapes() map[string]waihu.Shape {
	return map[string]waihu.Shape{
		waihu.DoorNative: api.Shape(s.store),
		voicefox.Door:    voicefox.Shape(s.voicefox()),
		yunfu.Door:       yunfu.Callback(s.vendor()),
		keyue.Door:       keyue.Callback(s.keyue()),
	}
}

// newDeliverer joins the deliveries with the rest.
func (s *server) newDeliverer() *webhook.Deliverer {
	c := s.cfg.Callbacks
	return webhook.New(webhook.Options{Store: s.store, Client: s.out, Shapes: s.shapes(), Log: s.log,
		BlockAfter: c.BlockAfter, BlockFor: time.Duration(c.BlockFor) * time.Minute})
}

// native joins the native API with the rest.
func (s *server) native() api.Options {
	return api.Options{Store: s.store, Doors: slices.Sorted(maps.Keys(s.shapes())), URL: s.out.CheckURL, PerSecond: s.cfg.PerSecond, Log: s.log,
		Recordings: s.records.Open, Remove: s.records.Remove, Compact: s.ua.CompactJournal, Window: schedule.Open, Lines: s.lines.Lines, NotReady: s.notReady}
}
