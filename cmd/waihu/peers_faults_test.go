package main

import (
	"fmt"
	"testing"
	"time"

	"waihu"
	"waihu/store"
)

// TestFaultsWait: what fails on our side before or right after the INVITE brings each number back later; it is not
// dialled again and again.
func TestFaultsWait(t *testing.T) {
	t.Parallel()
	lines := testResources + "lines:\n"
	for id, trunk := range map[string]string{
		"unresolvable": `uri: "sip:nowhere.invalid"`,
		"refused":      fmt.Sprintf(`uri: "sip:127.0.0.1:%d", transport: tcp`, sipPort(t)),
	} {
		lines += fmt.Sprintf("  - {id: %s, name: x, concurrency: 5, trunk: {%s}}\n", id, trunk)
	}
	w := newWorld(t, lines, nil)
	for _, id := range []string{"unresolvable", "refused"} {
		t.Run(id, func(t *testing.T) {
			ctx := t.Context()
			now := time.Now().In(waihu.Location(""))
			task, err := w.client.newTask(ctx, id, "goodbye", id, 1, 5, now.Add(-time.Hour).Format(time.DateTime), now.Add(24*time.Hour).Format(time.DateTime))
			if err != nil {
				t.Fatal(err)
			}
			if err := w.client.addNumbers(ctx, task, []map[string]any{{"phone": "13800000001"}, {"phone": "13800000002"}}); err != nil {
				t.Fatal(err)
			}
			if err := w.client.startTask(ctx, task); err != nil {
				t.Fatal(err)
			}
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for deadline := time.Now().Add(slow * 30 * time.Second); ; <-tick.C {
				counts, err := w.server.store.Counts(ctx, testAccount, waihu.TaskID(task))
				if err != nil {
					t.Fatal(err)
				}
				if counts.State[waihu.NumberDue] == 2 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("the numbers stand at %v", counts.State)
				}
			}
			calls, _, err := w.server.store.Calls(ctx, testAccount, waihu.TaskID(task), store.CallFilter{PerPage: 100})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range calls {
				if c.Outcome.Disposition != waihu.OurFault {
					t.Errorf("a call ended as %s", c.Outcome.Disposition)
				}
			}
			if len(calls) != 2 {
				t.Errorf("%d calls were made of 2 numbers", len(calls))
			}
		})
	}
}
