package main

import (
	"waihu/voicefox"
)

// voicefox joins the VoiceFox door with the rest.
func (s *server) voicefox() voicefox.Options {
	vendor := s.vendor()
	return voicefox.Options{Store: s.store, Preflight: s.preflight, Check: checkAgent, Recordings: vendor.Recordings, PerSecond: s.cfg.PerSecond,
		Public: vendor.Public, CheckURL: s.out.CheckURL, Log: s.log}
}
