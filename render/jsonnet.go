package main

import (
	"encoding/json"
	"fmt"
	"path"
	"sort"

	"github.com/google/go-jsonnet"
)

// evaluate runs one Jsonnet file. Its result is an object of Kubernetes, or a list or mapping of them at any depth.
func evaluate(asked request, from *tree) *outcome {
	machine := jsonnet.MakeVM()
	machine.Importer(&importer{tree: from, libraries: asked.Libraries, kept: map[string]jsonnet.Contents{}})
	for _, one := range asked.ExternalText {
		machine.ExtVar(one.Name, one.Value)
	}
	for _, one := range asked.ExternalCode {
		machine.ExtCode(one.Name, one.Value)
	}
	for _, one := range asked.TopText {
		machine.TLAVar(one.Name, one.Value)
	}
	for _, one := range asked.TopCode {
		machine.TLACode(one.Name, one.Value)
	}
	text, err := machine.EvaluateFile(asked.Path)
	if err != nil {
		return &outcome{Fault: jsonnetFault(err, asked.Path)}
	}
	done := &outcome{}
	if problem := gather(done, json.RawMessage(text), asked.Path, "$"); problem != nil {
		return &outcome{Fault: problem}
	}
	return done
}

func gather(done *outcome, value json.RawMessage, origin, at string) *fault {
	var list []json.RawMessage
	if json.Unmarshal(value, &list) == nil {
		for i, one := range list {
			if problem := gather(done, one, origin, fmt.Sprintf("%s[%d]", at, i)); problem != nil {
				return problem
			}
		}
		return nil
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(value, &fields) != nil {
		return &fault{
			Message: fmt.Sprintf("%s is %.60s, which is no Kubernetes object", at, value), File: origin,
			Fix: "Let the file give objects with apiVersion and kind, or lists and mappings of them.",
		}
	}
	if _, ok := fields["kind"]; ok && fields["apiVersion"] != nil {
		done.Objects = append(done.Objects, object{Origin: origin, Body: value})
		return nil
	}
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if problem := gather(done, fields[name], origin, at+"."+name); problem != nil {
			return problem
		}
	}
	return nil
}

// importer looks beside the importing file, then in the library folders, the last one first, as `jsonnet -J` does.
type importer struct {
	tree      *tree
	libraries []string
	kept      map[string]jsonnet.Contents
}

func (i *importer) Import(importer, wanted string) (jsonnet.Contents, string, error) {
	places := []string{path.Join(path.Dir(importer), wanted)}
	for at := len(i.libraries) - 1; at >= 0; at-- {
		places = append(places, path.Join(i.libraries[at], wanted))
	}
	if path.IsAbs(wanted) {
		return jsonnet.Contents{}, "", fmt.Errorf("%s is outside of the repository", wanted)
	}
	for _, at := range places {
		if found, ok := i.kept[at]; ok {
			return found, at, nil
		}
		if one, ok := i.tree.look(at); !ok || one.Mode == modeFolder {
			continue
		}
		data, err := i.tree.read(at)
		if err != nil {
			return jsonnet.Contents{}, "", err
		}
		i.kept[at] = jsonnet.MakeContentsRaw(data)
		return i.kept[at], at, nil
	}
	return jsonnet.Contents{}, "", fmt.Errorf("there is no %s here nor in the library folders", wanted)
}
