package main

import (
	"flag"
	"fmt"
	"strconv"
	"strings"

	"waihu/agent"
	"waihu/keyue"
)

// keyueConfig are the settings of the Keyue door: what the vendor's pages leave open.
type keyueConfig struct {
	ErrorStatus int    // HTTP status of a refused request
	PrintedURL  bool   // every asynchronous task has the taskUrl that the pages print
	TaskStatus  string // four taskStatus values: waiting, working, done, failed
}

func (c *keyueConfig) flags(fs *flag.FlagSet) {
	wholeVar(fs, &c.ErrorStatus, "keyue-error-status", 400, "HTTP `status` that carries the failures of the Keyue API")
	fs.BoolVar(&c.PrintedURL, "keyue-printed-task-url", false, "give every Keyue task the one taskUrl that the vendor's pages print, whatever its kind")
	fs.StringVar(&c.TaskStatus, "keyue-task-status", "0,1,2,3", "the four `values` of a Keyue task's taskStatus: waiting, working, done, failed")
}

// statuses reads TaskStatus.
func (c *keyueConfig) statuses() (list [4]int, err error) {
	parts := strings.Split(c.TaskStatus, ",")
	seen := map[int]bool{}
	for i, part := range parts {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || len(parts) != len(list) || seen[n] {
			return list, fmt.Errorf("--keyue-task-status %q: four different whole numbers with commas between were expected", c.TaskStatus)
		}
		list[i], seen[n] = n, true
	}
	return list, nil
}

func (c *keyueConfig) check() error {
	if c.ErrorStatus != 200 && (c.ErrorStatus < 400 || c.ErrorStatus > 499) {
		return fmt.Errorf("--keyue-error-status %d: 200 or a status from 400 to 499 was expected", c.ErrorStatus)
	}
	_, err := c.statuses()
	return err
}

// keyue joins the door with the rest; its jobs are made with it too, before there is a queue to wake.
func (s *server) keyue() keyue.Options {
	statuses, _ := s.cfg.Keyue.statuses() // checked by config.check; of a config made by hand the default
	o := keyue.Options{
		Store: s.store, Preflight: s.preflight, Check: agent.Check, CheckURL: s.checkURL, Recordings: s.records.Open, Log: s.log,
		PerSecond: s.cfg.PerSecond, ErrorStatus: s.cfg.Keyue.ErrorStatus, PrintedTaskURL: s.cfg.Keyue.PrintedURL, TaskStatus: statuses,
	}
	if s.jobs != nil {
		o.Wake = s.jobs.Wake
	}
	return o
}
