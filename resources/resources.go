// Package resources reads the apply file: accounts, lines, calling hours, rules, agents
// and tasks as an operator writes them down in YAML (anchors and merge keys work).
//
// The whole file is checked before anything is written: unknown keys, wrong types, bad
// times and spans, references to nothing, ids given twice, trunks that cannot work, what is
// wrong inside agents. Every problem is reported with its line and what was expected, and
// when there is one nothing is applied; the ledger takes the file in one transaction.
//
// Applied means: a digest per resource is kept, and a resource is written only when the
// file says something else of it than when it was last applied. So a restart with the same
// file writes nothing and never undoes what was changed by API, and nothing is removed for
// being absent. A changed agent needs a new version.
//
// A secret (a trunk's password, a token, a bot's token) may be written as env:NAME or
// file:PATH (relative to the apply file); it is resolved at apply and never printed. An
// agent's llm.prompt may be file:PATH too.
//
// Functions may be called concurrently; two applies at once are two transactions, one
// after the other. A file of a thousand resources takes well under a second. To test code
// that needs resources, Apply a document to a store opened on t.TempDir().
package resources

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"waihu"
	"waihu/store"
)

// maxFile bounds an apply file.
const maxFile = 32 << 20

// Options join this room with the rest.
type Options struct {
	Store *store.Store
	// Check is the static check of agents; its problems' fields are paths inside the agent.
	Check func(*waihu.AgentSpec) []waihu.Problem
	// Checks is the static check of quality checks and score schemes, with fields inside them.
	Checks func(*waihu.Checks) []waihu.Problem
	// Calls is how many calls at once the server that takes the lines has RTP ports for; 0: not checked.
	Calls int
	// Env looks up what env:NAME names; default os.LookupEnv.
	Env func(name string) (string, bool)
}

// Problem is one thing wrong with the file.
type Problem struct {
	Line    int
	Path    string // such as lines[0].trunk.codecs[1]
	Message string
}

// Problems is all that is wrong with a file; nothing of it was applied.
type Problems struct {
	File string
	List []Problem
}

func (p *Problems) Error() string {
	var b strings.Builder
	for i, x := range p.List {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s:%d: ", p.File, x.Line)
		if x.Path != "" {
			b.WriteString(x.Path + ": ")
		}
		b.WriteString(x.Message)
	}
	return b.String()
}

// Count says what became of the resources of one kind.
type Count struct {
	Kind                        string
	Created, Changed, Unchanged int
}

// Report is what an apply did, kinds in the order of the file format.
type Report []Count

// String is one line per kind that the file holds.
func (r Report) String() string {
	var b strings.Builder
	for _, c := range r {
		if c.Created+c.Changed+c.Unchanged == 0 {
			continue
		}
		fmt.Fprintf(&b, "%-16s %3d created, %3d changed, %3d unchanged\n", c.Kind, c.Created, c.Changed, c.Unchanged)
	}
	return b.String()
}

// Wrote says whether anything was written.
func (r Report) Wrote() bool {
	for _, c := range r {
		if c.Created+c.Changed > 0 {
			return true
		}
	}
	return false
}

// ApplyFile applies a file.
func ApplyFile(ctx context.Context, file string, o Options) (Report, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("apply: %s is larger than %d MiB", file, maxFile>>20)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	return Apply(ctx, file, text, o)
}

// Apply applies a document. name stands in problems, and its folder is where file:PATH begins.
// The error is *Problems when the document is refused.
func Apply(ctx context.Context, name string, text []byte, o Options) (Report, error) {
	if o.Env == nil {
		o.Env = os.LookupEnv
	}
	d := &doc{env: o.Env, dir: filepath.Dir(name)}
	file := d.read(text)
	p := &plan{doc: d, o: o, ctx: ctx}
	var err error
	if file != nil && len(d.problems) == 0 { // what follows from a wrong type is not worth saying
		if err = p.build(file); err != nil {
			return nil, fmt.Errorf("apply %s: %w", name, err)
		}
	}
	if len(d.problems) > 0 {
		return nil, d.report(name)
	}
	report, err := p.write()
	var refused *store.ApplyError
	if errors.As(err, &refused) {
		at := p.changed[refused.Index]
		if code := waihu.ErrorCode(refused.Err); code == waihu.EInternal {
			return nil, fmt.Errorf("apply %s: %s: %w", name, at.path, err)
		}
		d.add(at.path, "%s", refused.Err.Error())
		return nil, d.report(name)
	}
	if err != nil {
		return nil, fmt.Errorf("apply %s: %w", name, err)
	}
	return report, nil
}
