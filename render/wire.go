package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// Both directions: four bytes of length, big-endian, then JSON. The parent sends a request; the worker sends any
// number of asks, each answered at once by a given, and then one answer.

const maxFrame = 256 << 20

type hello struct {
	Protocol int               `json:"protocol"`
	Confined bool              `json:"confined"` // the kernel refuses files, sockets and programs
	Versions map[string]string `json:"versions"`
}

type request struct {
	Kind string `json:"kind"` // kustomize, helm, jsonnet, template, health, jq
	Tree string `json:"tree"` // names the tree: same name, same tree
	Path string `json:"path"` // the kustomization's or chart's folder, or the Jsonnet file; "" is the root
	// Kustomize
	Restrict bool  `json:"restrict"` // files only from a kustomization's own root, as upstream's default
	Edit     *edit `json:"edit"`     // what a definition says over the kustomization
	// Helm
	Release      string   `json:"release"`
	Namespace    string   `json:"namespace"`
	Upgrade      bool     `json:"upgrade"`
	ValuesFiles  []string `json:"values_files"` // paths in the tree, later ones win
	Values       string   `json:"values"`       // YAML, over the files
	Set          []string `json:"set"`
	SetString    []string `json:"set_string"`
	SetFile      []string `json:"set_file"` // key=path in the tree
	KubeVersion  string   `json:"kube_version"`
	APIVersions  []string `json:"api_versions"`
	SkipCRDs     bool     `json:"skip_crds"`
	SkipSchema   bool     `json:"skip_schema"`
	SkipTests    bool     `json:"skip_tests"`
	SecondSeed   bool     `json:"second_seed"` // render again where a template can differ by chance, and compare
	Libraries    []string `json:"libraries"`   // Jsonnet library folders
	ExternalText []pair   `json:"external_text"`
	ExternalCode []pair   `json:"external_code"`
	TopText      []pair   `json:"top_text"`
	TopCode      []pair   `json:"top_code"`
	// Texts: a body filled in for each set of parameters
	Body       json.RawMessage  `json:"body"`
	Params     []map[string]any `json:"params"`
	GoTemplate bool             `json:"go_template"` // else by names alone
	Options    []string         `json:"options"`     // of Go's templates: missingkey=error
	// Health
	Rules  []healthRule  `json:"rules"`
	Inputs []healthInput `json:"inputs"`
	// jq
	Programs []string        `json:"programs"`
	Input    json.RawMessage `json:"input"`
}

type pair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type ask struct {
	Below string   `json:"below,omitempty"` // a listing of everything below this folder
	List  string   `json:"list,omitempty"`  // a listing of this folder
	Blobs []string `json:"blobs,omitempty"`
	Op    string   `json:"op"` // list, below, blobs
}

type entry struct {
	Name string `json:"name"` // for `below`: the path from the folder
	Mode int    `json:"mode"` // Git's; 0o040000 for a folder
	Oid  string `json:"oid"`
}

type given struct {
	Entries []entry           `json:"entries"`
	Blobs   map[string][]byte `json:"blobs"`
	Fault   string            `json:"fault"` // what the parent could not give, and why
}

type answer struct {
	Ask  *ask     `json:"ask,omitempty"`
	Done *outcome `json:"done,omitempty"`
}

type outcome struct {
	Objects   []object        `json:"objects"`
	Hooks     []hook          `json:"hooks,omitempty"`
	Notes     string          `json:"notes,omitempty"`
	Fault     *fault          `json:"fault,omitempty"`
	Warnings  []fault         `json:"warnings,omitempty"`
	Differs   []string        `json:"differs,omitempty"` // templates whose output differs under a second seed
	Trace     []seen          `json:"trace"`
	Judged    []judged        `json:"judged,omitempty"` // of health, one for each input
	Paths     json.RawMessage `json:"paths,omitempty"`  // of jq: arrays of keys and positions
	Forgotten bool            `json:"-"`
}

type object struct {
	Origin string          `json:"origin"` // the file it comes from, "" not known
	Body   json.RawMessage `json:"body"`
	CRD    bool            `json:"crd,omitempty"` // from a chart's crds/ folder
}

type hook struct {
	object
	Events   []string `json:"events"`
	Weight   int      `json:"weight"`
	Deletion []string `json:"deletion"`
}

// fault is one error with the user's own file and line; 0 when no line is known.
type fault struct {
	Message string `json:"message"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	Fix     string `json:"fix"`
}

// seen is one thing a render depends on: a file's object id, a name that is absent, a folder's listing.
type seen struct {
	What  string `json:"what"` // file, folder, absent, list, below
	Path  string `json:"path"`
	Value string `json:"value,omitempty"`
}

type wire struct {
	in  *bufio.Reader
	out *bufio.Writer
}

func newWire(in io.Reader, out io.Writer) *wire {
	return &wire{bufio.NewReaderSize(in, 1<<16), bufio.NewWriterSize(out, 1<<16)}
}

func (w *wire) send(message any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("cannot encode: %w", err)
	}
	if len(body) > maxFrame {
		body, err = json.Marshal(answer{Done: &outcome{Fault: &fault{
			Message: fmt.Sprintf("the render is %d MiB large; the limit is %d MiB", len(body)>>20, maxFrame>>20),
			Fix:     "Split it into smaller applications.",
		}}})
		if err != nil {
			return err
		}
	}
	var length [4]byte
	binary.BigEndian.PutUint32(length[:], uint32(len(body)))
	if _, err := w.out.Write(length[:]); err != nil {
		return err
	}
	if _, err := w.out.Write(body); err != nil {
		return err
	}
	return w.out.Flush()
}

func (w *wire) receive(into any) error {
	var length [4]byte
	if _, err := io.ReadFull(w.in, length[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(length[:])
	if size > maxFrame {
		return fmt.Errorf("a message of %d bytes is larger than %d", size, maxFrame)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(w.in, body); err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// parentLost ends the worker: without its parent no render can go on.
type parentLost struct{ err error }

func (p *parentLost) Error() string { return "the parent is gone: " + p.err.Error() }

func (w *wire) ask(asked ask) given {
	var got given
	if err := w.send(answer{Ask: &asked}); err != nil {
		panic(&parentLost{err})
	}
	if err := w.receive(&got); err != nil {
		panic(&parentLost{err})
	}
	return got
}
