package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// errUsage is wrapped by every error of a command line that cannot be understood; the exit code is then 2.
var errUsage = errors.New("wrong arguments")

// usageErrorf says what is wrong with a command line.
func usageErrorf(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errUsage, fmt.Errorf(format, args...))
}

// newFlags makes an empty set of flags whose errors and help are ours to write.
func newFlags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	return fs
}

// parseWords reads flags and words in any order; "--" ends the flags. --help prints the command's
// usage and is flag.ErrHelp.
func parseWords(std stdio, fs *flag.FlagSet, args []string, least, most int) ([]string, error) {
	var words []string
	for {
		err := fs.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			commandUsage(std.out, fs)
			return nil, err
		}
		if err != nil {
			return nil, usageErrorf("%w", err)
		}
		rest := fs.Args()
		if len(rest) == 0 {
			break
		}
		if used := len(args) - len(rest); used > 0 && args[used-1] == "--" {
			words = append(words, rest...)
			break
		}
		words, args = append(words, rest[0]), rest[1:]
	}
	switch {
	case len(words) > most && most == 0:
		return nil, usageErrorf("it takes no argument, but got %q", words[0])
	case len(words) > most:
		return nil, usageErrorf("%q is one argument too many", words[most])
	case len(words) < least:
		return nil, usageErrorf("an argument is missing")
	}
	return words, nil
}

// commandUsage prints how a command is used; fs is named after it.
func commandUsage(w io.Writer, fs *flag.FlagSet) {
	for _, c := range commands() {
		if c.name == fs.Name() {
			fmt.Fprintf(w, "usage: %s [settings]\n\n%s\n", c.line(), c.long)
		}
	}
	fmt.Fprintln(w, "\nsettings:")
	fs.VisitAll(func(f *flag.Flag) {
		kind, help := flag.UnquoteUsage(f)
		head := strings.TrimSpace("--" + f.Name + " " + strings.ToUpper(kind))
		if f.DefValue != "" && f.DefValue != "false" {
			help += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(w, "  %-24s %s\n", head, help)
	})
}

// wholeVar is fs.IntVar with an error that says what was expected.
func wholeVar(fs *flag.FlagSet, p *int, name string, def int, usage string) {
	*p = def
	fs.Var((*whole)(p), name, usage)
}

type whole int

func (n *whole) String() string { return strconv.Itoa(int(*n)) }

func (n *whole) Set(s string) error {
	v, err := strconv.Atoi(s)
	if err != nil {
		return errors.New("a whole number was expected")
	}
	*n = whole(v)
	return nil
}
