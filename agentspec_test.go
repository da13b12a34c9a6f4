package waihu

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"go.yaml.in/yaml/v3"
)

var updateGolden = flag.Bool("update", false, "write golden files anew")

// The whole model fits into AgentSpec: a document with every part of it is read without an unknown key, and its JSON,
// which is what the database keeps, stays as it is.
func TestAgentSpecGolden(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	var spec, again AgentSpec
	dec := json.NewDecoder(bytes.NewReader(asJSON))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&spec); err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *updateGolden {
		if err := os.WriteFile("testdata/agent.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/agent.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the stored form has changed:\n%s", got)
	}
	if err := json.Unmarshal(got, &again); err != nil {
		t.Fatal(err)
	}
	if twice, err := json.MarshalIndent(again, "", "  "); err != nil || !bytes.Equal(append(twice, '\n'), want) {
		t.Errorf("read and written again it is another agent (%v)", err)
	}
}
