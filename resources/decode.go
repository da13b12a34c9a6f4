package resources

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// doc reads YAML nodes into Go values by their json names, strictly, and remembers at which line every
// value stands. The YAML package's own decoder knows no positions beyond syntax.
type doc struct {
	env      func(string) (string, bool)
	dir      string
	problems []Problem
	lines    map[string]int
	nodes    map[string]*yaml.Node // resources by path, for their digests
	left     int                   // nodes that may still be visited
	secrets  map[string]string     // by path of the field: what env: and file: gave
}

// A file may use anchors inside anchors; what it unfolds to is bounded all the same.
const (
	maxNodes = 2_000_000
	maxDepth = 100
)

var errTooLarge = errors.New("the file unfolds to more than it should: anchors inside anchors?")

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\s+)?line (\d+): `)

func (d *doc) read(text []byte) *fileDoc {
	d.lines, d.nodes, d.secrets, d.left = map[string]int{}, map[string]*yaml.Node{}, map[string]string{}, maxNodes
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var root, more yaml.Node
	err := dec.Decode(&root)
	if errors.Is(err, io.EOF) {
		return &fileDoc{}
	}
	if err == nil {
		if err = dec.Decode(&more); err == nil {
			d.problems = append(d.problems, Problem{Line: more.Line, Message: "a second document begins here: one was expected"})
			return nil
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		line, message := 1, strings.TrimPrefix(err.Error(), "yaml: ")
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			line, _ = strconv.Atoi(m[1]) // digits by the pattern
			message = err.Error()[len(m[0]):]
		}
		d.problems = append(d.problems, Problem{Line: line, Message: "not YAML: " + message})
		return nil
	}
	file := &fileDoc{}
	if err := d.bounded(&root, 0); err != nil {
		d.problems = append(d.problems, Problem{Line: 1, Message: err.Error()})
		return nil
	}
	d.decode(root.Content[0], reflect.ValueOf(file).Elem(), "")
	return file
}

// bounded walks what the decoder would walk, so that nothing after it needs to count.
func (d *doc) bounded(n *yaml.Node, depth int) error {
	if d.left--; d.left < 0 || depth > maxDepth {
		return errTooLarge
	}
	if n.Kind == yaml.AliasNode {
		return d.bounded(n.Alias, depth+1)
	}
	for _, c := range n.Content {
		if err := d.bounded(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// line is where the value at path stands, or the nearest that holds it.
func (d *doc) line(path string) int {
	for {
		if n, ok := d.lines[path]; ok {
			return n
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return max(d.lines[""], 1)
		}
		path = path[:i]
	}
}

func (d *doc) add(path, format string, args ...any) {
	p := Problem{Line: d.line(path), Path: path, Message: fmt.Sprintf(format, args...)}
	// what is wrong behind an anchor is wrong once, however many resources merge it
	if !slices.ContainsFunc(d.problems, func(q Problem) bool { return q.Line == p.Line && q.Message == p.Message }) {
		d.problems = append(d.problems, p)
	}
}

func (d *doc) report(name string) *Problems {
	slices.SortStableFunc(d.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return &Problems{File: name, List: d.problems}
}

func target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// field is one key of a mapping with its value.
type field struct {
	key  string
	line int
	val  *yaml.Node
}

// fields are the keys of a mapping, merged ones included; its own keys win over merged ones, earlier merged
// ones over later.
func (d *doc) fields(n *yaml.Node, path string) []field {
	var out []field
	have := map[string]int{}
	take := func(k, v *yaml.Node, own bool) {
		k = target(k)
		if k.Kind != yaml.ScalarNode {
			d.addAt(k, path, "a key is a word, not a list or a mapping")
			return
		}
		if line, ok := have[k.Value]; ok {
			if own {
				d.addAt(k, path, "the key %s is given twice, first in line %d", k.Value, line)
			}
			return
		}
		have[k.Value] = k.Line
		out = append(out, field{k.Value, k.Line, v})
	}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Tag == "!!merge" {
			merges = append(merges, n.Content[i+1])
		} else {
			take(k, n.Content[i+1], true)
		}
	}
	for _, m := range merges {
		list := []*yaml.Node{m}
		if t := target(m); t.Kind == yaml.SequenceNode {
			list = t.Content
		}
		for _, m := range list {
			t := target(m)
			if t.Kind != yaml.MappingNode {
				d.addAt(m, path, "<< merges mappings: a mapping such as *name was expected")
				continue
			}
			for _, f := range d.fields(t, path) {
				take(&yaml.Node{Kind: yaml.ScalarNode, Value: f.key, Line: f.line}, f.val, false)
			}
		}
	}
	return out
}

// addAt is add for a node whose line is not remembered under its path.
func (d *doc) addAt(n *yaml.Node, path, format string, args ...any) {
	p := Problem{Line: n.Line, Path: path, Message: fmt.Sprintf(format, args...)}
	if !slices.Contains(d.problems, p) {
		d.problems = append(d.problems, p)
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// decode sets v to what n says. An explicit null is as if the key were absent.
func (d *doc) decode(n *yaml.Node, v reflect.Value, path string) {
	d.lines[path] = n.Line
	n = target(n)
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if v.CanAddr() && v.Addr().Type().Implements(unmarshaler) {
		d.decodeJSON(n, v, path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		d.nodes[path] = n
		v.Set(reflect.New(v.Type().Elem()))
		d.decode(n, v.Elem(), path)
	case reflect.Struct:
		d.decodeStruct(n, v, path)
	case reflect.Map:
		if n.Kind != yaml.MappingNode {
			d.addAt(n, path, "keys with values were expected, not %s", describe(n))
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for _, f := range d.fields(n, path) {
			e := reflect.New(v.Type().Elem()).Elem()
			d.decode(f.val, e, join(path, f.key))
			v.SetMapIndex(reflect.ValueOf(f.key).Convert(v.Type().Key()), e)
		}
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.addAt(n, path, "a list was expected, not %s", describe(n))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, c := range n.Content {
			at := index(path, i)
			d.nodes[at] = target(c)
			d.decode(c, v.Index(i), at)
		}
	case reflect.Interface:
		if x := d.plain(n); x != nil {
			v.Set(reflect.ValueOf(x))
		}
	default:
		d.decodeScalar(n, v, path)
	}
}

func (d *doc) decodeJSON(n *yaml.Node, v reflect.Value, path string) {
	b, err := json.Marshal(d.plain(n))
	if err == nil {
		err = v.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(b)
	}
	if err != nil {
		d.addAt(n, path, "%v", err)
	}
}

func (d *doc) decodeStruct(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.addAt(n, path, "keys with values were expected, not %s", describe(n))
		return
	}
	keys := structKeys(v.Type())
	for _, f := range d.fields(n, path) {
		i, ok := keys[f.key]
		if !ok {
			d.addAt(&yaml.Node{Line: f.line}, path, "unknown key %s: %s", f.key, expected(f.key, keys))
			continue
		}
		d.decode(f.val, v.FieldByIndex(i), join(path, f.key))
	}
}

// structKeys are the json names of a struct, embedded structs included.
func structKeys(t reflect.Type) map[string][]int {
	out := map[string][]int{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || name == "" || name == "-" {
			continue
		}
		out[name] = f.Index
	}
	return out
}

// expected names the key that was probably meant, or all there are.
func expected(key string, keys map[string][]int) string {
	list := make([]string, 0, len(keys))
	for k := range keys {
		if distance(key, k) <= 2 && len(key) > 2 {
			return k + " was probably meant"
		}
		list = append(list, k)
	}
	slices.Sort(list)
	return "expected is one of " + strings.Join(list, ", ")
}

// distance is how many letters differ, by Levenshtein.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func (d *doc) decodeScalar(n *yaml.Node, v reflect.Value, path string) {
	bad := func(what string) { d.addAt(n, path, "%s was expected, not %s", what, describe(n)) }
	scalar := n.Kind == yaml.ScalarNode
	switch v.Kind() {
	case reflect.String:
		// Numbers and dates are taken as they are written, so that ids and times need no quotes.
		if !scalar || (n.Tag != "!!str" && n.Tag != "!!int" && n.Tag != "!!float" && n.Tag != "!!timestamp") {
			bad("text")
			return
		}
		v.SetString(n.Value)
	case reflect.Bool:
		var b bool
		if !scalar || n.Tag != "!!bool" || n.Decode(&b) != nil {
			bad("true or false")
			return
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(n.Value, 10, 64)
		if !scalar || n.Tag != "!!int" || err != nil || v.OverflowInt(i) {
			bad("a whole number")
			return
		}
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.Value, 64)
		if !scalar || (n.Tag != "!!int" && n.Tag != "!!float") || err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			bad("a number")
			return
		}
		v.SetFloat(f)
	default:
		panic("resources: the file format uses the Go type " + v.Type().String())
	}
}

// describe says what stands there without repeating it whole: it may be a secret in the wrong place.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.MappingNode:
		return "keys with values"
	case n.Tag == "!!bool":
		return n.Value + " (in quotes it would be text)"
	case n.Tag == "!!int", n.Tag == "!!float":
		return "the number " + n.Value
	case n.Tag == "!!timestamp":
		return "a date"
	}
	return "text"
}

// plain is a node as encoding/json would have it: merges done, anchors followed, numbers as written.
func (d *doc) plain(n *yaml.Node) any {
	n = target(n)
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for _, f := range d.fields(n, "") {
			m[f.key] = d.plain(f.val)
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			list[i] = d.plain(c)
		}
		return list
	}
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		return n.Value == "true" || n.Value == "True" || n.Value == "TRUE"
	case "!!int", "!!float":
		if json.Valid([]byte(n.Value)) {
			return json.Number(n.Value)
		}
	}
	return n.Value
}
