package main

import (
	"flag"
	"fmt"
	"time"

	"waihu/voicefox"
)

// voicefoxConfig are the settings of the VoiceFox door: what the vendor's pages leave open.
type voicefoxConfig struct {
	RetryUnit string // of option.retryInterval
}

var retryUnits = map[string]time.Duration{"": time.Minute, "minute": time.Minute, "second": time.Second} // "": of a config made by hand

func (c *voicefoxConfig) flags(fs *flag.FlagSet) {
	fs.StringVar(&c.RetryUnit, "voicefox-retry-unit", "minute", "`unit` of a VoiceFox task's retryInterval: minute or second")
}

func (c *voicefoxConfig) check() error {
	if retryUnits[c.RetryUnit] == 0 {
		return fmt.Errorf("--voicefox-retry-unit %q: minute or second was expected", c.RetryUnit)
	}
	return nil
}

// voicefox joins the VoiceFox door with the rest.
func (s *server) voicefox() voicefox.Options {
	vendor := s.vendor()
	return voicefox.Options{Store: s.store, Preflight: s.preflight, Check: checkAgent, Recordings: vendor.Recordings, PerSecond: s.cfg.PerSecond,
		Public: vendor.Public, CheckURL: s.out.CheckURL, RetryUnit: retryUnits[s.cfg.VoiceFox.RetryUnit], Log: s.log}
}
