package main

import (
	"bytes"
	"testing"

	"waihu"
	"waihu/store"
	"waihu/yunfu"
)

// TestHeardAgents: calls, the look-ahead and the check before a start read agents with the vendor's voice; whoever
// shows or changes one reads what is stored.
func TestHeardAgents(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.Context(), store.Options{Dir: t.TempDir(), Key: bytes.Repeat([]byte{7}, store.KeySize), MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := st.UpsertAccount(t.Context(), waihu.Account{ID: "a", Name: "a"}); err != nil {
		t.Fatal(err)
	}
	spec := waihu.AgentSpec{ID: "7", Account: "a", Name: "quick", Brain: waihu.BrainFlow, Vendor: map[string]map[string]any{yunfu.Door: {"speed": 80, "volume": 20}}}
	if err := st.SaveAgent(t.Context(), &spec); err != nil {
		t.Fatal(err)
	}
	agents := heardAgents{st}
	for name, read := range map[string]func() (waihu.AgentSpec, error){
		"agent":   func() (waihu.AgentSpec, error) { return agents.Agent(t.Context(), "a", "7") },
		"version": func() (waihu.AgentSpec, error) { return agents.AgentVersion(t.Context(), "a", spec.VersionID) },
		"task": func() (waihu.AgentSpec, error) {
			return agents.TaskAgent(t.Context(), &waihu.Task{Account: "a", Agent: "7"}, "7")
		},
	} {
		if got, err := read(); err != nil || got.Voice.Speed != 1.6 || got.Voice.Volume != 20 {
			t.Errorf("%s: %+v, %v", name, got.Voice, err)
		}
	}
	if got, err := st.Agent(t.Context(), "a", "7"); err != nil || got.Voice.Speed != 0 {
		t.Errorf("stored: %+v, %v", got.Voice, err)
	}
}
