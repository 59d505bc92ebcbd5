package main

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/go-jsonnet"
	yaml3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/types"
)

const maxMessage = 4000

// faulty is a fault as an error, for the places where a library only passes errors on.
type faulty struct{ fault }

func (f *faulty) Error() string { return f.File + ": " + f.Message }

func short(text string) string {
	text = strings.TrimSpace(text)
	if len(text) <= maxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxMessage], "") + fmt.Sprintf(" … (%d bytes in all)", len(text))
}

var yamlLine = regexp.MustCompile(`(?:yaml: |error converting YAML to JSON: )+(?:unmarshal errors:\s+)?line (\d+): (.*)`)

func yamlFault(at string, err error) fault {
	found := fault{Message: short(err.Error()), File: at, Fix: "Mend the YAML there."}
	if match := yamlLine.FindStringSubmatch(err.Error()); match != nil {
		found.Line, _ = strconv.Atoi(match[1])
		found.Message = short(match[2])
	}
	return found
}

// lineOf is the first line that holds the text as a word of its own; 0 when none does.
func lineOf(data []byte, text string) int {
	if text == "" {
		return 0
	}
	word := regexp.MustCompile(`(^|[^\w./-])` + regexp.QuoteMeta(text) + `($|[^\w./-])`)
	for i, line := range bytes.Split(data, []byte("\n")) {
		if word.Match(line) {
			return i + 1
		}
	}
	return 0
}

// --- Kustomize -----------------------------------------------------------------------------------------------------

var (
	malformed  = regexp.MustCompile(`yaml: (?:unmarshal errors:\s+)?line (\d+): (.*)`)
	inFile     = regexp.MustCompile(`^(.*?) in [Ff]ile:? '?([^\s']+)`)
	unknown    = regexp.MustCompile(`unknown field "([^"]+)"`)
	loadedFrom = regexp.MustCompile(`(?:from|at|file|path|resource|load(?:ing)?) ["']([^"']+)["']`)
	missingOne = regexp.MustCompile(`open ([^\s:']+): file does not exist`)
	noMatch    = regexp.MustCompile(`no (?:resource )?matches for (?:Id )?["']?([^"'\s;]+)`)
	cycle      = regexp.MustCompile(`cycle detected: candidate root '([^']+)' contains visited root '([^']+)'`)
	restricted = regexp.MustCompile(`security; file '([^']+)' is not in or below '([^']+)'`)
	quoted     = regexp.MustCompile(`['"]([^'"\s]{2,})['"]`)
)

// kustomizeFault finds the user's own file and line for an error of Kustomize. Its messages nest; the innermost counts.
func kustomizeFault(err error, files *files, root string) *fault {
	text := err.Error()
	last := path.Join(root, "kustomization.yaml")
	if n := len(files.kustomizations); n > 0 {
		last = files.kustomizations[n-1]
	}
	if match := cycle.FindStringSubmatch(text); match != nil {
		return files.placed(last, match[1], fmt.Sprintf(
			"it includes itself: %s holds %s", orDot(inside(match[1])), orDot(inside(match[2])),
		), "Let a base never name a folder above itself.")
	}
	if match := restricted.FindStringSubmatch(text); match != nil {
		return files.placed(last, match[1], fmt.Sprintf(
			"%s lies outside of the kustomization's own folder %s", inside(match[1]), orDot(inside(match[2])),
		), "Move it there, or make its folder a base of its own.")
	}
	if match := malformed.FindStringSubmatch(text); match != nil {
		at, message := last, match[2]
		if named := inFile.FindStringSubmatch(message); named != nil {
			at, message = files.heldAs(named[2], last), named[1]
		}
		line, _ := strconv.Atoi(match[1])
		if tabbed := bytes.Index(append([]byte("\n"), files.tree.held[at]...), []byte("\n\t")); tabbed >= 0 {
			line = 1 + bytes.Count(files.tree.held[at][:tabbed], []byte("\n")) // the library counts from elsewhere
		}
		return &fault{Message: short(message), File: at, Line: line, Fix: "Mend the YAML there."}
	}
	if match := unknown.FindStringSubmatch(text); match != nil {
		return &fault{
			Message: fmt.Sprintf("Kustomize knows no field %q", match[1]), File: last,
			Line: lineOf(files.tree.held[last], match[1]), Fix: near(match[1], kustomizationFields(), "Remove it."),
		}
	}
	if match := noMatch.FindStringSubmatch(text); match != nil {
		return files.noTarget(last, match[1], text)
	}
	if all := missingOne.FindAllStringSubmatch(text, -1); all != nil {
		return files.missing(last, all[0][1])
	}
	if strings.Contains(text, "unable to find one of 'kustomization.yaml'") {
		return files.bare(last, text)
	}
	return files.other(last, text)
}

func (f *files) placed(at, name, message, fix string) *fault {
	found := &fault{Message: message, File: at, Fix: fix}
	for i := len(f.kustomizations) - 1; i >= 0; i-- {
		here := f.kustomizations[i]
		for _, form := range f.forms(here, name) {
			if line := lineOf(f.tree.held[here], form); line > 0 {
				found.File, found.Line = here, line
				return found
			}
		}
	}
	return found
}

// forms are the ways in which a kustomization may have written a path.
func (f *files) forms(from, name string) []string {
	target, ups := "/"+inside(name), ""
	var forms []string
	for here := path.Join("/", path.Dir(from)); ; here = path.Dir(here) {
		if rest, ok := strings.CutPrefix(target, strings.TrimSuffix(here, "/")+"/"); ok {
			forms = append(forms, ups+rest, "./"+ups+rest, ups+rest+"/")
		}
		if target == here && ups != "" {
			forms = append(forms, strings.TrimSuffix(ups, "/"), ups)
		}
		if here == "/" {
			return append(forms, name)
		}
		ups += "../"
	}
}

func (f *files) heldAs(name, from string) string {
	for _, at := range []string{inside(name), inside(path.Join(path.Dir(from), name))} {
		if _, ok := f.tree.held[at]; ok {
			return at
		}
	}
	for i := len(f.tree.order) - 1; i >= 0; i-- {
		if strings.HasSuffix("/"+f.tree.order[i], "/"+strings.TrimPrefix(name, "./")) {
			return f.tree.order[i]
		}
	}
	return from
}

func (f *files) missing(last, at string) *fault {
	var names []string
	for _, one := range f.tree.folder(strings.TrimSuffix(strings.TrimPrefix(path.Dir("/"+at), "/"), "/")) {
		names = append(names, one.Name)
	}
	fix := near(path.Base(at), names, "Restore it, or remove the line that names it.")
	if len(f.kustomizations) == 0 {
		return &fault{Message: "there is no kustomization in this folder", File: at, Fix: fix}
	}
	return f.placed(last, at, fmt.Sprintf("there is no %s", at), fix)
}

func (f *files) bare(last, text string) *fault {
	all := quoted.FindAllStringSubmatch(text, -1)
	at := inside(all[len(all)-1][1])
	if len(f.kustomizations) == 0 {
		return &fault{Message: "there is no kustomization.yaml in this folder", File: at, Fix: "Name the folder that holds it."}
	}
	return f.placed(last, at, fmt.Sprintf("the folder %s holds no kustomization.yaml", at),
		"Add one that lists its files, or name the files themselves.")
}

// noTarget names the patch whose object is not there, and what has a like name.
func (f *files) noTarget(last, id, text string) *fault {
	name := id
	if _, rest, ok := strings.Cut(id, "/"); ok {
		name, _, _ = strings.Cut(rest, ".")
	}
	var names []string
	for _, at := range f.tree.order {
		if !isKustomization(at) {
			names = append(names, namesIn(f.tree.held[at])...)
		}
	}
	found := &fault{
		Message: "a patch finds no object " + id, File: last, Fix: near(name, names, "Name an object that is there."),
	}
	for i := len(f.tree.order) - 1; i >= 0; i-- { // the patch was read last
		at := f.tree.order[i]
		if line := lineOf(f.tree.held[at], name); line > 0 {
			found.File, found.Line = at, line
			break
		}
	}
	if !strings.Contains(text, "patch") {
		found.Message = short(text)
	}
	return found
}

func (f *files) other(last, text string) *fault {
	message := text
	if at := strings.LastIndex(text, "accumulation err='"); at >= 0 {
		message = text[at+len("accumulation err='"):]
		if cut := strings.LastIndex(message, "': "); cut > 0 {
			message = message[cut+3:]
		}
	}
	found := &fault{Message: short(message), File: last, Fix: "Mend what it names."}
	for _, match := range append(loadedFrom.FindAllStringSubmatch(text, -1), quoted.FindAllStringSubmatch(text, -1)...) {
		if placed := f.placed(last, match[1], found.Message, found.Fix); placed.Line > 0 {
			return placed
		}
	}
	return found
}

// unwritable is a resource that Kustomize reads and cannot write: a key stated twice. Its file is found by reading all.
func unwritable(err error, from *tree, root string) *fault {
	for _, at := range from.order {
		decoder := yaml3.NewDecoder(bytes.NewReader(from.held[at]))
		for {
			var value any
			problem := decoder.Decode(&value)
			if match := malformed.FindStringSubmatch(fmt.Sprint(problem)); problem != nil && match != nil {
				line, _ := strconv.Atoi(match[1])
				return &fault{Message: short(match[2]), File: at, Line: line, Fix: "Mend the YAML there: state each key once."}
			}
			if problem != nil {
				break
			}
		}
	}
	return &fault{Message: short(err.Error()), File: root, Fix: "Mend the object it names."}
}

func namesIn(data []byte) []string {
	var names []string
	decoder := yaml3.NewDecoder(bytes.NewReader(data))
	for {
		var head struct {
			Metadata struct {
				Name string `yaml:"name"`
			} `yaml:"metadata"`
		}
		if decoder.Decode(&head) != nil {
			return names
		}
		if head.Metadata.Name != "" {
			names = append(names, head.Metadata.Name)
		}
	}
}

func kustomizationFields() []string {
	var names []string
	kind := reflect.TypeOf(types.Kustomization{})
	for i := range kind.NumField() {
		if name, _, _ := strings.Cut(kind.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// near suggests the known name with the fewest letters to change, if that is at most a third of it.
func near(name string, known []string, otherwise string) string {
	best, least := "", len(name)/3+1
	for _, one := range known {
		if d := distance(name, one); d > 0 && d <= least && (best == "" || d < least) {
			best, least = one, d
		}
	}
	if best == "" {
		return otherwise
	}
	return fmt.Sprintf("Is it %s?", best)
}

// distance is Levenshtein's.
func distance(a, b string) int {
	if len(a) > 200 || len(b) > 200 {
		return 1000
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			before, row[j] = row[j], min(row[j]+1, row[j-1]+1, before+cost)
		}
	}
	return row[len(b)]
}

// --- Helm ----------------------------------------------------------------------------------------------------------

var (
	templateLine = regexp.MustCompile(`\(?([\w.@-]+/[^\s:()]+):(\d+)(?::\d+)?\)?:?\s*`)
	manifestYAML = regexp.MustCompile(`(?s)YAML parse error on ([^\s:]+): (.*)`)
	schemaAt     = regexp.MustCompile(`- at '([^']*)': (.*)`)
	chartFile    = regexp.MustCompile(`cannot load (Chart\.yaml|Chart\.lock|values\.yaml|requirements\.yaml): (?s:(.*))`)
)

// file is a template's name ("chart/templates/x.yaml") as a path of the repository.
func (c *charting) file(template string) string {
	rest, ok := strings.CutPrefix(template, c.name+"/")
	if !ok {
		return path.Join(c.asked.Path, template)
	}
	at := path.Join(c.asked.Path, rest)
	if _, held := c.tree.held[at]; held {
		return at
	}
	return c.packed(at)
}

// packed is the archive that holds a template of a packed subchart, or the path itself.
func (c *charting) packed(at string) string {
	folder, _, ok := strings.Cut(at, "/templates/")
	if !ok {
		return at
	}
	for _, held := range c.tree.order {
		if strings.HasPrefix(held, folder+"-") && strings.HasSuffix(held, ".tgz") {
			return held
		}
	}
	return at
}

// stated is a fault about a word of Chart.yaml.
func (c *charting) stated(word, message, fix string) error {
	at := path.Join(c.asked.Path, "Chart.yaml")
	return &faulty{fault{Message: message, File: at, Line: lineOf(c.tree.held[at], word), Fix: fix}}
}

func (c *charting) fault(err error) *fault {
	var ours *faulty
	if errors.As(err, &ours) {
		return &ours.fault
	}
	text := err.Error()
	if match := chartFile.FindStringSubmatch(text); match != nil {
		found := yamlFault(path.Join(c.asked.Path, match[1]), err)
		return &found
	}
	if found := c.schemaFault(text); found != nil {
		return found
	}
	if match := manifestYAML.FindStringSubmatch(text); match != nil {
		found := yamlFault(c.file(match[1]), errors.New(match[2]))
		if found.Line > 0 { // of what the template gave, which is not the template's own line
			found.Message = fmt.Sprintf("line %d of what it renders is no YAML: %s", found.Line, found.Message)
			found.Line = 0
		}
		found.Fix = "See it with `trueup render`, and mend indentation or quotes in the template."
		return &found
	}
	if match := c.placed(text); match != nil {
		line, _ := strconv.Atoi(text[match[4]:match[5]])
		return &fault{
			Message: short(reason(text[match[1]:])), File: c.file(text[match[2]:match[3]]), Line: line,
			Fix: "Mend the template, or give the value it needs.",
		}
	}
	return &fault{Message: short(text), File: path.Join(c.asked.Path, "Chart.yaml"), Fix: "Mend what it names."}
}

// placed finds the innermost template that a message names; what a template says itself (`fail`) names none.
func (c *charting) placed(text string) []int {
	var found []int
	for _, match := range templateLine.FindAllStringSubmatchIndex(text, -1) {
		if strings.HasPrefix(text[match[2]:match[3]], c.name+"/") {
			found = match
		}
		if strings.Contains(text[:match[0]], "execution error at ") || strings.HasPrefix(text, "execution error at ") {
			break
		}
	}
	return found
}

// reason is what the innermost template had to say.
func reason(text string) string {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "executing ") {
		return text
	}
	if at := strings.LastIndex(text, ">:"); at >= 0 {
		text = text[at+2:]
	}
	return strings.TrimSpace(text)
}

// schemaFault names the line of the value that a chart's schema refuses: in the last values file that states it.
func (c *charting) schemaFault(text string) *fault {
	if !strings.Contains(text, "values don't meet the specifications of the schema") {
		return nil
	}
	match := schemaAt.FindStringSubmatch(text)
	if match == nil {
		return &fault{Message: short(text), File: path.Join(c.asked.Path, "values.schema.json"), Fix: "Mend the values."}
	}
	keys := strings.Split(strings.Trim(match[1], "/"), "/")
	found := &fault{
		Message: short(fmt.Sprintf("%s: %s", strings.Join(keys, "."), match[2])), File: path.Join(c.asked.Path, "values.yaml"),
		Fix: "Give a value as the chart's values.schema.json asks.",
	}
	candidates := append([]string{path.Join(c.asked.Path, "values.yaml")}, c.asked.ValuesFiles...)
	for i := len(candidates) - 1; i >= 0; i-- {
		if line := lineOfKey(c.tree.held[candidates[i]], keys); line > 0 {
			found.File, found.Line = candidates[i], line
			break
		}
	}
	return found
}

func lineOfKey(data []byte, keys []string) int {
	var doc yaml3.Node
	if yaml3.Unmarshal(data, &doc) != nil || len(doc.Content) == 0 {
		return 0
	}
	node, line := doc.Content[0], 0
	for _, key := range keys {
		var next *yaml3.Node
		if index, err := strconv.Atoi(key); err == nil && node.Kind == yaml3.SequenceNode && index < len(node.Content) {
			next, line = node.Content[index], node.Content[index].Line
		}
		for i := 0; next == nil && node.Kind == yaml3.MappingNode && i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == key {
				next, line = node.Content[i+1], node.Content[i].Line
			}
		}
		if next == nil {
			return 0
		}
		node = next
	}
	return line
}

// --- Jsonnet -------------------------------------------------------------------------------------------------------

var jsonnetPlace = regexp.MustCompile(`(?m)(?:^|\s|\()([^\s:()<>]+\.(?:jsonnet|libsonnet|json)):\(?(\d+)[:)-]`)

func jsonnetFault(err error, at string) *fault {
	text := err.Error()
	found := &fault{Message: short(strings.SplitN(text, "\n", 2)[0]), File: at, Fix: "Mend the expression there."}
	found.Message = strings.TrimPrefix(found.Message, "RUNTIME ERROR: ")
	if match := jsonnetPlace.FindStringSubmatch(text); match != nil {
		found.File = inside(match[1])
		found.Line, _ = strconv.Atoi(match[2])
		found.Message = strings.TrimSpace(strings.TrimPrefix(found.Message, match[1]+":"))
	}
	var running jsonnet.RuntimeError
	if errors.As(err, &running) {
		found.Message = short(running.Msg)
	}
	return found
}
