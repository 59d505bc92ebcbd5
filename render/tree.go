package main

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
)

const (
	modeFolder = 0o040000
	modeLink   = 0o120000
	modeModule = 0o160000
	keptBytes  = 64 << 20
	keptTrees  = 4
)

// kept outlives a render: contents by object id and listings by tree, both bounded. It saves round trips, never a trace.
type kept struct {
	blobs map[string]*list.Element
	order *list.List
	bytes int
	trees []*listings
}

type blob struct {
	oid  string
	data []byte
}

type listings struct {
	id      string
	folders map[string][]entry // nil: no such folder
}

func newKept() *kept { return &kept{blobs: map[string]*list.Element{}, order: list.New()} }

func (k *kept) blob(oid string) ([]byte, bool) {
	found, ok := k.blobs[oid]
	if !ok {
		return nil, false
	}
	k.order.MoveToFront(found)
	return found.Value.(*blob).data, true
}

func (k *kept) keep(oid string, data []byte) {
	if _, ok := k.blobs[oid]; ok || len(data) > keptBytes/8 {
		return
	}
	k.blobs[oid] = k.order.PushFront(&blob{oid, data})
	for k.bytes += len(data); k.bytes > keptBytes; {
		last := k.order.Remove(k.order.Back()).(*blob)
		delete(k.blobs, last.oid)
		k.bytes -= len(last.data)
	}
}

func (k *kept) listings(id string) *listings {
	for i, found := range k.trees {
		if found.id == id {
			copy(k.trees[1:i+1], k.trees[:i])
			k.trees[0] = found
			return found
		}
	}
	fresh := &listings{id: id, folders: map[string][]entry{}}
	k.trees = append([]*listings{fresh}, k.trees...)
	if len(k.trees) > keptTrees {
		k.trees = k.trees[:keptTrees]
	}
	return fresh
}

// tree is a revision as the parent tells it. Paths are relative to its root, "/" separated, "" is the root itself.
// Everything a render learns from it is in its trace.
type tree struct {
	wire  *wire
	id    string
	kept  *kept
	noted map[seen]bool
	held  map[string][]byte // contents of this render by path, so that a fault can name a line
	order []string          // the paths read, in order
}

func (t *tree) note(what, at, value string) {
	if t.noted == nil {
		t.noted = map[seen]bool{}
	}
	t.noted[seen{what, at, value}] = true
}

func (t *tree) trace() []seen {
	found := make([]seen, 0, len(t.noted))
	for one := range t.noted {
		found = append(found, one)
	}
	sort.Slice(found, func(i, j int) bool {
		if found[i].Path != found[j].Path {
			return found[i].Path < found[j].Path
		}
		return found[i].What < found[j].What
	})
	return found
}

func (t *tree) folder(at string) []entry {
	known := t.kept.listings(t.id)
	if entries, ok := known.folders[at]; ok {
		return entries
	}
	got := t.wire.ask(ask{Op: "list", List: at})
	known.folders[at] = got.Entries
	return got.Entries
}

// stat says what stands at a path; false when nothing does. It makes no note: its callers note what they learned.
func (t *tree) stat(at string) (entry, bool) {
	if at == "" {
		return entry{Mode: modeFolder}, true
	}
	if strings.HasPrefix(at, "../") || at == ".." {
		return entry{}, false
	}
	// From the root downwards, so that a path below nothing costs no question about each of its folders.
	var found entry
	here := ""
	for _, name := range strings.Split(at, "/") {
		entries := t.folder(here)
		index := sort.Search(len(entries), func(i int) bool { return entries[i].Name >= name })
		if index == len(entries) || entries[index].Name != name {
			return entry{}, false
		}
		found = entries[index]
		here = path.Join(here, name)
		if found.Mode != modeFolder && here != at {
			return entry{}, false
		}
	}
	return found, true
}

// look is stat with a note of what was learned.
func (t *tree) look(at string) (entry, bool) {
	found, ok := t.stat(at)
	switch {
	case !ok:
		t.note("absent", at, "")
	case found.Mode == modeFolder:
		t.note("folder", at, "")
	default:
		t.note("file", at, found.Oid)
	}
	return found, ok
}

func (t *tree) list(at string) ([]entry, error) {
	found, ok := t.look(at)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: at, Err: fs.ErrNotExist}
	}
	if found.Mode != modeFolder {
		return nil, &fs.PathError{Op: "open", Path: at, Err: fmt.Errorf("not a directory")}
	}
	entries := t.folder(at)
	t.note("list", at, listed(entries))
	return entries, nil
}

// below lists every file below a folder, by its path from there.
func (t *tree) below(at string) []entry {
	got := t.wire.ask(ask{Op: "below", Below: at})
	t.note("below", at, listed(got.Entries))
	return got.Entries
}

// listed is the digest of a listing: names, and whether each is a file, a folder or something else.
// Source: trueup/core/render.py computes the same.
func listed(entries []entry) string {
	digest := sha256.New()
	for _, one := range entries {
		fmt.Fprintf(digest, "%o %s\x00", one.Mode, one.Name)
	}
	return hex.EncodeToString(digest.Sum(nil))
}

func (t *tree) read(at string) ([]byte, error) {
	found, ok := t.look(at)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: at, Err: fs.ErrNotExist}
	}
	if err := readable(at, found); err != nil {
		return nil, err
	}
	data, err := t.content(found.Oid)
	if err != nil {
		return nil, &faulty{fault{Message: err.Error(), File: at, Fix: "Run `git fsck` in the repository."}}
	}
	t.hold(at, data)
	return data, nil
}

func readable(at string, found entry) error {
	switch found.Mode {
	case modeFolder:
		return &fs.PathError{Op: "read", Path: at, Err: fmt.Errorf("is a directory")}
	case modeLink:
		return &faulty{fault{Message: "a symbolic link, which is not followed", File: at, Fix: "Put the file itself here."}}
	case modeModule:
		return &faulty{fault{Message: "a submodule, which is not read", File: at, Fix: "Put the files themselves here."}}
	}
	return nil
}

func (t *tree) hold(at string, data []byte) {
	if t.held == nil {
		t.held = map[string][]byte{}
	}
	if _, ok := t.held[at]; !ok {
		t.order = append(t.order, at)
	}
	t.held[at] = data
}

// need asks for many contents in one question.
func (t *tree) need(oids []string) error {
	var missing []string
	for _, oid := range oids {
		if _, ok := t.kept.blob(oid); !ok {
			missing = append(missing, oid)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	got := t.wire.ask(ask{Op: "blobs", Blobs: missing})
	if got.Fault != "" {
		return fmt.Errorf("%s", got.Fault)
	}
	for oid, data := range got.Blobs {
		t.kept.keep(oid, data)
	}
	return nil
}

func (t *tree) content(oid string) ([]byte, error) {
	if data, ok := t.kept.blob(oid); ok {
		return data, nil
	}
	got := t.wire.ask(ask{Op: "blobs", Blobs: []string{oid}})
	if got.Fault != "" {
		return nil, fmt.Errorf("%s", got.Fault)
	}
	data, ok := got.Blobs[oid]
	if !ok {
		return nil, fmt.Errorf("its content could not be read from Git")
	}
	t.kept.keep(oid, data)
	return data, nil
}
