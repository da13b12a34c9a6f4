// Command waihu runs the platform and talks to a running one.
//
// It is the only room that knows all others: it reads flags, environment and
// settings file, joins the rooms, and turns signals into a drain (first signal:
// take no new work, let calls end) and a stop (second signal: hang up now).
// Everything it does can be started from a test through run. It exits 0 only
// when what was asked for happened.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // calling windows must not depend on the machine's zone files
)

// command is one subcommand. Its function returns nil only when it did what it says.
type command struct {
	name, args string
	help, long string // in the list of commands; before the list of settings
	run        func(ctx context.Context, io stdio, args []string) error
}

func (c *command) line() string { return strings.TrimSpace("waihu " + c.name + " " + c.args) }

// stdio is what a command reads and writes, and the signals it may get.
type stdio struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) (string, bool)
	environ  []string
	// signals delivers SIGINT and SIGTERM; the first drains, the second stops.
	signals <-chan os.Signal
}

func commands() []command {
	const anywhere = "With a server running on the data folder it is asked to do it, through the folder's socket; otherwise the ledger is opened directly."
	return []command{
		{"demo", "", "100 simulated calls over real SIP/RTP, from nothing, in about a minute",
			"Calls simulated callees with an embedded database in a temporary folder, and compares every outcome\nwith what the callee's script demands. Exits 0 only if all are as they must be.", runDemo},
		{"serve", "", "run the platform",
			"Runs until SIGINT or SIGTERM: the first drains (calls in progress go on), the second hangs up.\nEvery setting may also be given as a variable (WAIHU_MIN_FREE_MB=512) or in the file that --config names\n(min-free-mb: 512); the flag counts over the variable, the variable over the file.", runServe},
		{"apply", "FILE", "apply a resources file to a running server or its data folder",
			"Checks the whole file first and applies nothing when anything is wrong. Writes only what the file\nsays differently than when it was last applied. " + anywhere, runApply},
		{"token", "ACCOUNT [NAME]", "make a token for an account and print it once", "The token is kept hashed: it cannot be shown again. " + anywhere, runToken},
		{"import", "TASK FILE", "import a CSV or XLSX file of numbers into a task",
			"The first row names the columns (phone, 号码, 手机号, ...; others become variables), or is a number itself.\nRefused rows are listed with their line. Ctrl-C stops after what is committed and says how far it got;\nimporting the same file again adds what is missing. " + anywhere, runImport},
		{"trunk", "check LINE", "say in words what stands between this server and a trunk",
			"Asks a running server to try name, port, OPTIONS, registration and, with --call, a call with sound both ways.", runTrunk},
		{"export", "TASK FILE", "write a task's numbers or calls into a CSV or XLSX file",
			"The ending of FILE says which. The file is made where the server runs, and appears only when it is whole. " + anywhere, runExport},
		{"erase", "NUMBER", "erase a phone number and all that is known of it",
			"Empties the number's rows in every task, removes transcripts, reviews, recordings and customers, overwrites the number in jobs,\nbatches and wherever else it stands, in whatever form it was written, and says what it found. A suppressed number stays suppressed,\nas a keyed hash. " + anywhere, runErase},
		{"regrade", "TASK", "check a task's answered calls again, with its agents' newest versions",
			"Grades, quality items, answers and summaries are made anew from the stored transcripts; what has neither changed nor\nstayed undecided is kept. The running server does it. " + anywhere, runRegrade},
		{"jobs", "list|replay [ID]", "show the work in the background, and bring back what was given up",
			"list counts the jobs and shows those that were given up with their reasons; replay makes one of them, or all that\n--kind and --account choose, due again. " + anywhere, runJobs},
		{"webhook", "list|add|remove|release|replay ...", "look after the endpoints that callbacks go to",
			"  list [ACCOUNT]    all endpoints and how far they are\n  add ACCOUNT URL   tell an address what happens from now on, or --from an event; its secret is printed once\n" +
				"  remove ID         end an endpoint\n  release ID        try a blocked one again at once\n  replay ID         deliver again what was given up, or all --from an event\n" + anywhere, runWebhook},
		{"backup", "FILE", "copy the database of a running server", "The copy is consistent at one moment and appears under its name only when it is whole. " + anywhere, runBackup},
		{"carrier", "", "run the simulated carrier by itself", "Answers SIP with scripted callees; the last two digits of the called number choose one.", runCarrier},
		{"bench", "schedule|import|book|review|webhook|callbacks|pages|stat|media|setup", "measure one part on this machine",
			"Each part has settings of its own: waihu bench schedule --help. docs/benchmarks.md says how the figures are meant.", runBench},
	}
}

func main() {
	syscall.Umask(0o077) // phone numbers and recordings are nobody else's
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	code := run(context.Background(), stdio{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		env: os.LookupEnv, environ: os.Environ(), signals: signals,
	}, os.Args[1:])
	os.Exit(code)
}

// run executes one command line and returns the exit code: 0 done, 1 failed, 2 wrong usage.
func run(ctx context.Context, io stdio, args []string) int {
	switch {
	case len(args) == 0:
		usage(io.out)
		return 2
	case args[0] == "help" && len(args) > 1:
		args = []string{args[1], "--help"}
	case args[0] == "help" || isHelp(args[0]):
		usage(io.out)
		return 0
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		if c.name == "bench" && len(args) > 1 && isHelp(args[1]) { // the settings are those of its parts
			fmt.Fprintf(io.out, "usage: %s [settings]\n\n%s\n", c.line(), c.long)
			return 0
		}
		err := c.run(ctx, io, args[1:])
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.Is(err, errUsage):
			if err != errUsage {
				fmt.Fprintf(io.err, "waihu %s: %v\n", c.name, err)
			}
			fmt.Fprintf(io.err, "usage: %s [settings]   (waihu %s --help lists them)\n", c.line(), c.name)
			return 2
		default:
			fmt.Fprintf(io.err, "waihu %s: %v\n", c.name, err)
			return 1
		}
	}
	fmt.Fprintf(io.err, "waihu: there is no command %q\n\n", args[0])
	usage(io.err)
	return 2
}

func isHelp(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }

func usage(w io.Writer) {
	fmt.Fprintln(w, "waihu: self-hosted AI outbound calling")
	fmt.Fprintln(w)
	for _, c := range commands() {
		fmt.Fprintf(w, "  waihu %-9s %-28s %s\n", c.name, c.args, c.help)
	}
	fmt.Fprintln(w, "\nwaihu COMMAND --help shows a command's settings.")
}

var logLevels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// newLog writes one line an event to w; it never carries personal data, because phone numbers mask themselves.
func newLog(w io.Writer, level string) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: logLevels[level]}))
}
