package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// integrationResources are what a customer of the vendor has: a script group with a number, hours, a line.
const integrationResources = `accounts:
  - id: 5832d184-dd53-42a0-8ace-0bf8d660f4cc
    name: integration
    tokens: [{name: integration, token: integration-token}]
    webhooks: [{id: 1, door: yunfu, url: "http://HOOK/callback"}]
lines:
  - {id: d47c3599-f166-4cd0-999c-f60e46814d26, name: simulated, concurrency: 70, trunk: {uri: "sim:integration", caller_ids: ["02160001000"], ring_timeout: 8, max_call: 10}}
calling_hours:
  - {id: 1, name: all day, default: true, weekly: {all: ["00:00-24:00"]}}
agents:
  - id: "123"
    name: goodbye
    version: 1
    opening: {wait_ms: 200, say: 感谢您的接听，再见。}
    brain: flow
    flow: {start: bye, nodes: {bye: {say: 感谢您的接听，再见。, do: [hangup]}}}
`

// TestIntegration runs examples/yunfu, which knows nothing of waihu, against a server with the simulated carrier.
func TestIntegration(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "yunfu")
	if said, err := exec.Command("go", "build", "-o", program, "../../examples/yunfu").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, said)
	}
	hook := unusedTCP(t)
	s := startServe(t, t.TempDir(), "--apply", writeFile(t, strings.Replace(integrationResources, "HOOK", hook, 1)), "--callback-allow", "127.0.0.1/32",
		"--rtp", "7000-7799") // 300 calls in half a minute: ports rest after use, and there are more calls than one test range has
	ctx, cancel := context.WithTimeout(t.Context(), slow*time.Minute)
	defer cancel()
	said, err := exec.CommandContext(ctx, program, "-base", s.base, "-token", "integration-token", "-user", "5832d184-dd53-42a0-8ace-0bf8d660f4cc",
		"-numbers", "300", "-endings", "02,13,10,01,09,13", "-listen", hook).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, said, s.log.String())
	}
	t.Logf("%s", said)
	for _, part := range []string{"numbers imported: 300", "call records: ", "a recording of", "callbacks: ", "and 2 imports; 0 calls were told again", "task stopped and deleted"} {
		if !strings.Contains(string(said), part) {
			t.Errorf("it does not say %q:\n%s", part, said)
		}
	}
	s.stop(t)
}

// unusedTCP is an address that nobody listens on, and that the kernel gives nobody meanwhile.
func unusedTCP(t *testing.T) string {
	t.Helper()
	return "127.0.0.1:" + strconv.Itoa(sipPort(t))
}
