package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	yaml3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

func kustomize(asked request, from *tree) *outcome {
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified // as the program `kustomize build`
	if !asked.Restrict {
		options.LoadRestrictions = types.LoadRestrictionsNone
	}
	files := &files{tree: from}
	if asked.Edit != nil {
		if err := files.refuse(files.editKustomization(asked.Path, asked.Edit)); files.refused != nil {
			return &outcome{Fault: files.refused}
		} else if err != nil {
			return &outcome{Fault: kustomizeFault(err, files, asked.Path)}
		}
	}
	made, err := krusty.MakeKustomizer(options).Run(files, "/"+asked.Path)
	if files.refused != nil {
		return &outcome{Fault: files.refused}
	}
	if err != nil {
		return &outcome{Fault: kustomizeFault(err, files, asked.Path)}
	}
	objects, err := resources(made)
	if err != nil {
		return &outcome{Fault: unwritable(err, from, asked.Path)}
	}
	if wrong := asked.Edit.after(objects); wrong != nil {
		wrong.File = asked.Path
		return &outcome{Fault: wrong}
	}
	return &outcome{Objects: objects}
}

func resources(made resmap.ResMap) ([]object, error) {
	found := make([]object, 0, made.Size())
	for _, one := range made.Resources() {
		body, err := one.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("%s cannot be written as JSON: %w", one.CurId(), err)
		}
		found = append(found, object{Body: body})
	}
	return found, nil
}

// files is a tree as Kustomize's file system, rooted at "/". It cannot be written.
type files struct {
	tree           *tree
	refused        *fault            // what this program does not do, first of all: Kustomize swallows some errors
	kustomizations []string          // read so far, in order
	edited         map[string][]byte // contents that stand in the place of the tree's
}

var errReadOnly = fmt.Errorf("a render writes nothing")

func inside(at string) string {
	return strings.TrimPrefix(path.Clean("/"+filepath.ToSlash(at)), "/")
}

func (f *files) Create(string) (filesys.File, error) { return nil, errReadOnly }
func (f *files) Mkdir(string) error                  { return errReadOnly }
func (f *files) MkdirAll(string) error               { return errReadOnly }
func (f *files) RemoveAll(string) error              { return errReadOnly }
func (f *files) WriteFile(string, []byte) error      { return errReadOnly }
func (f *files) Open(at string) (filesys.File, error) {
	return nil, fmt.Errorf("%s is not opened as a stream", at)
}
func (f *files) Exists(at string) bool                     { return f.exists(inside(at)) }
func (f *files) Walk(at string, _ filepath.WalkFunc) error { return fmt.Errorf("%s is not walked", at) }

func (f *files) exists(where string) bool {
	if _, ours := f.edited[where]; ours {
		return true
	}
	_, ok := f.tree.look(where)
	return ok
}

func (f *files) IsDir(at string) bool {
	found, ok := f.tree.look(inside(at))
	return ok && found.Mode == modeFolder
}

func (f *files) ReadDir(at string) ([]string, error) {
	entries, err := f.tree.list(inside(at))
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, one := range entries {
		names = append(names, one.Name)
	}
	return names, nil
}

func (f *files) CleanedAbs(at string) (filesys.ConfirmedDir, string, error) {
	where := inside(at)
	if _, ours := f.edited[where]; ours {
		return filesys.ConfirmedDir(path.Dir("/" + where)), path.Base(where), nil
	}
	found, ok := f.tree.look(where)
	if !ok {
		return "", "", &fs.PathError{Op: "open", Path: where, Err: fs.ErrNotExist}
	}
	if found.Mode == modeFolder {
		return filesys.ConfirmedDir("/" + where), "", nil
	}
	if err := f.refuse(readable(where, found)); err != nil {
		return "", "", err
	}
	folder, name := path.Split("/" + where)
	return filesys.ConfirmedDir(path.Clean(folder)), name, nil
}

func (f *files) Glob(pattern string) ([]string, error) {
	folder, last := path.Split(path.Clean(pattern))
	if strings.ContainsAny(folder, "*?[") {
		return nil, fmt.Errorf("%s: only the last part of a path may hold * or ?", pattern)
	}
	names, err := f.ReadDir(folder)
	if err != nil {
		return nil, nil //nolint:nilerr // as filepath.Glob: what cannot be listed matches nothing
	}
	var found []string
	for _, name := range names {
		if ok, err := path.Match(last, name); err != nil {
			return nil, err
		} else if ok {
			found = append(found, path.Join(folder, name))
		}
	}
	return found, nil
}

func (f *files) ReadFile(at string) ([]byte, error) {
	where := inside(at)
	data, ours := f.edited[where]
	if !ours {
		var err error
		if data, err = f.tree.read(where); err != nil {
			return nil, f.refuse(err)
		}
	}
	if isKustomization(where) {
		f.kustomizations = append(f.kustomizations, where)
		if err := f.refuse(f.unserved(where, data)); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// refuse keeps the first fault of ours and passes the error on.
func (f *files) refuse(err error) error {
	if ours, ok := err.(*faulty); ok && f.refused == nil {
		f.refused = &ours.fault
	}
	return err
}

func isKustomization(at string) bool {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if path.Base(at) == name {
			return true
		}
	}
	return false
}

// unserved names what a kustomization asks for and a render does not do: remote bases and charts.
func (f *files) unserved(at string, data []byte) error {
	var doc yaml3.Node
	if yaml3.Unmarshal(data, &doc) != nil || len(doc.Content) == 0 || doc.Content[0].Kind != yaml3.MappingNode {
		return nil // Kustomize says what is wrong with it
	}
	fields := doc.Content[0].Content
	for i := 0; i+1 < len(fields); i += 2 {
		key, value := fields[i], fields[i+1]
		switch key.Value {
		case "helmCharts":
			if len(value.Content) > 0 {
				return &faulty{fault{
					Message: "helmCharts is rendered by `trueup up`, `check`, `inspect` and `plan` alone", File: at, Line: key.Line,
					Fix: "Look at it with `trueup plan`.",
				}}
			}
		case "helmChartInflationGenerator":
			if len(value.Content) > 0 {
				return &faulty{fault{
					Message: key.Value + " is not rendered by this version", File: at, Line: key.Line,
					Fix: "Name the chart under helmCharts.",
				}}
			}
		case "resources", "bases", "components", "generators", "transformers", "validators", "crds", "configurations":
			for _, item := range value.Content {
				if _, local := f.tree.stat(inside(path.Join(path.Dir(at), item.Value))); !local && isRemote(item.Value) {
					return &faulty{fault{
						Message: item.Value + " is remote, " + fetched(key.Value), File: at, Line: item.Line,
						Fix: "Copy it into this repository and name its folder.",
					}}
				}
			}
		}
	}
	return nil
}

// fetched says who fetches what a field names elsewhere; a worker never does.
func fetched(field string) string {
	switch field {
	case "resources", "bases", "components":
		return "and is fetched by `trueup up`, `check`, `inspect` and `plan` alone"
	}
	return "which only resources, bases and components may be"
}

// isRemote follows Kustomize's own reading of an address.
// Source: kustomize api v0.21.1, internal/git/repospec.go, extractHost.
func isRemote(name string) bool {
	lower := strings.ToLower(name)
	if strings.Contains(lower, "://") || strings.HasPrefix(lower, "git::") {
		return true
	}
	user, rest, found := strings.Cut(lower, "@")
	if found && !strings.ContainsAny(user, "/ ") && strings.Contains(rest, ":") {
		return true
	}
	for _, host := range []string{"github.com/", "github.com:", "gh:"} {
		if strings.HasPrefix(lower, host) {
			return true
		}
	}
	return strings.Contains(lower, "?ref=")
}

// info is a path as an os.FileInfo, for rules that ask whether it is a folder.
type info struct {
	name   string
	folder bool
}

func (i info) Name() string { return path.Base(i.name) }
func (i info) Size() int64  { return 0 }
func (i info) Mode() os.FileMode {
	if i.folder {
		return os.ModeDir | 0o755
	}
	return 0o644
}
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.folder }
func (i info) Sys() any           { return nil }
