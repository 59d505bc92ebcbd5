package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/provider"
	"sigs.k8s.io/kustomize/api/types"
	edits "sigs.k8s.io/kustomize/kustomize/v5/commands/edit"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// edit is what a definition says over a kustomization that it points at. The file itself stays as it is; a render sees
// the edited one in its place.
type edit struct {
	Commands      [][]string    `json:"commands"` // of `kustomize edit`, run by its own code, as Argo CD does
	Namespace     string        `json:"namespace"`
	NamePrefix    string        `json:"name_prefix"`
	NameSuffix    string        `json:"name_suffix"`
	Images        []types.Image `json:"images"`
	Patches       []types.Patch `json:"patches"`
	Components    []string      `json:"components"`
	IgnoreMissing bool          `json:"ignore_missing"`
	Generate      bool          `json:"generate"` // a folder without a kustomization gets one of all its manifests

	// After the build
	Variables   map[string]string `json:"variables"` // put into each object's YAML; none: nothing is put in
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// after does to objects what Flux does to them once they are built.
func (e *edit) after(objects []object) *fault {
	if e == nil {
		return nil
	}
	for i := range objects {
		if len(e.Variables) > 0 {
			made, wrong := substitute(objects[i].Body, e.Variables)
			if wrong != nil {
				return wrong
			}
			objects[i].Body = made
		}
		if len(e.Labels)+len(e.Annotations) > 0 {
			made, err := marked(objects[i].Body, e.Labels, e.Annotations)
			if err != nil {
				return &fault{Message: firstLine(err)}
			}
			objects[i].Body = made
		}
	}
	return nil
}

// marked is an object with these labels and annotations over its own.
func marked(body json.RawMessage, labels, annotations map[string]string) (json.RawMessage, error) {
	var found map[string]any
	if err := json.Unmarshal(body, &found); err != nil {
		return nil, err
	}
	metadata, _ := found["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
		found["metadata"] = metadata
	}
	for key, wanted := range map[string]map[string]string{"labels": labels, "annotations": annotations} {
		if len(wanted) == 0 {
			continue
		}
		there, _ := metadata[key].(map[string]any)
		if there == nil {
			there = map[string]any{}
			metadata[key] = there
		}
		for name, value := range wanted {
			there[name] = value
		}
	}
	return json.Marshal(found)
}

// editKustomization puts the edited kustomization in the place of the one in a folder.
func (f *files) editKustomization(folder string, asked *edit) error {
	at, data, err := f.kustomizationOf(folder, asked.Generate)
	if err != nil {
		return err
	}
	if len(asked.Commands) > 0 {
		if data, err = edited(data, asked.Commands); err != nil {
			return &faulty{fault{Message: firstLine(err), File: at}}
		}
	}
	if asked.changes() {
		var stated types.Kustomization
		if err := yaml.Unmarshal(data, &stated); err != nil {
			return &faulty{fault{Message: "this is no kustomization: " + firstLine(err), File: at}}
		}
		f.apply(&stated, folder, asked)
		if data, err = yaml.Marshal(stated); err != nil {
			return err
		}
	}
	f.edited = map[string][]byte{at: data}
	return nil
}

func (e *edit) changes() bool {
	return e.Generate || e.Namespace != "" || e.NamePrefix != "" || e.NameSuffix != "" ||
		len(e.Images)+len(e.Patches)+len(e.Components) > 0
}

// apply merges as Flux does. Source: fluxcd/pkg/kustomize v1.35.7, kustomize_generator.go.
func (f *files) apply(stated *types.Kustomization, folder string, asked *edit) {
	if asked.Generate && len(stated.Resources) == 0 {
		if stated.Namespace == "" && len(stated.Components) == 0 && isEmpty(stated) {
			stated.Namespace = "_placeholder"
		} else {
			stated.BuildMetadata = []string{types.OriginAnnotations}
		}
	}
	if asked.Namespace != "" {
		stated.Namespace = asked.Namespace
	}
	if asked.NamePrefix != "" {
		stated.NamePrefix = asked.NamePrefix
	}
	if asked.NameSuffix != "" {
		stated.NameSuffix = asked.NameSuffix
	}
	stated.Patches = append(stated.Patches, asked.Patches...)
	for _, component := range asked.Components {
		if _, there := f.tree.look(inside(path.Join(folder, component))); there || !asked.IgnoreMissing {
			stated.Components = append(stated.Components, component)
		}
	}
	for _, image := range asked.Images {
		stated.Images = withImage(stated.Images, image)
	}
}

func isEmpty(stated *types.Kustomization) bool {
	left := *stated
	left.TypeMeta = types.TypeMeta{}
	data, err := yaml.Marshal(left)
	return err == nil && strings.TrimSpace(string(data)) == "{}"
}

// withImage overrides an image's name, and its version as a whole: a new tag takes a digest away.
func withImage(images []types.Image, image types.Image) []types.Image {
	for i := range images {
		if images[i].Name != image.Name {
			continue
		}
		if image.NewName != "" {
			images[i].NewName = image.NewName
		}
		if image.NewTag != "" || image.Digest != "" {
			images[i].NewTag, images[i].Digest = image.NewTag, image.Digest
		}
		return images
	}
	return append(images, image)
}

// edited runs `kustomize edit` on one file. Nothing but that file is there to be seen.
func edited(data []byte, commands [][]string) ([]byte, error) {
	memory := filesys.MakeFsInMemory()
	name := konfig.DefaultKustomizationFileName()
	if err := memory.WriteFile(name, data); err != nil {
		return nil, err
	}
	library := provider.NewDefaultDepProvider()
	for _, arguments := range commands {
		command := edits.NewCmdEdit(memory, library.GetFieldValidator(), library.GetResourceFactory(), io.Discard)
		command.SetArgs(arguments)
		command.SetOut(io.Discard)
		command.SetErr(io.Discard)
		command.SilenceErrors, command.SilenceUsage = true, true
		if err := command.Execute(); err != nil {
			return nil, fmt.Errorf("`kustomize edit %s`: %w", strings.Join(arguments, " "), err)
		}
	}
	return memory.ReadFile(name)
}

// kustomizationOf is the kustomization in a folder, or one of everything below it where that is asked for.
func (f *files) kustomizationOf(folder string, generate bool) (string, []byte, error) {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		at := inside(path.Join(folder, name))
		if found, ok := f.tree.look(at); ok && found.Mode != modeFolder {
			data, err := f.tree.read(at)
			return at, data, err
		}
	}
	if !generate {
		return "", nil, &faulty{fault{
			Message: "no kustomization stands in this folder", File: folder,
			Fix: "Name a folder that holds one, or leave out what the definition says about Kustomize.",
		}}
	}
	if _, there := f.tree.look(".sourceignore"); there {
		return "", nil, &faulty{fault{
			Message: ".sourceignore is not read, so which manifests count is not known", File: ".sourceignore",
			Fix: "State a kustomization.yaml that lists them.",
		}}
	}
	resources, err := f.manifests(inside(folder), "")
	if err != nil {
		return "", nil, err
	}
	made := types.Kustomization{Resources: resources}
	made.APIVersion, made.Kind = types.KustomizationVersion, types.KustomizationKind
	data, err := yaml.Marshal(made)
	return inside(path.Join(folder, konfig.DefaultKustomizationFileName())), data, err
}

// notManifests are what Flux leaves out of every source. Source: fluxcd/pkg/sourceignore v0.18.0.
var notManifests = map[string]bool{
	".git": true, ".github": true, ".circleci": true, ".travis.yml": true, ".gitlab-ci.yml": true, "appveyor.yml": true,
	".drone.yml": true, "cloudbuild.yaml": true, "codeship-services.yml": true, "codeship-steps.yml": true,
	".goreleaser.yml": true, ".goreleaser.brew.yml": true, ".sops.yaml": true, ".flux.yaml": true,
}

// manifests lists every manifest below a folder in the order of a walk; a folder with a kustomization stands for itself.
func (f *files) manifests(root, below string) ([]string, error) {
	entries, err := f.tree.list(path.Join(root, below))
	if err != nil {
		return nil, err
	}
	var found []string
	for _, one := range entries {
		at := path.Join(below, one.Name)
		if notManifests[one.Name] {
			continue
		}
		if one.Mode != modeFolder {
			if extension := path.Ext(one.Name); extension == ".yaml" || extension == ".yml" {
				found = append(found, "./"+at)
			}
		} else if f.holdsKustomization(path.Join(root, at)) {
			found = append(found, "./"+at)
		} else if inner, err := f.manifests(root, at); err == nil {
			found = append(found, inner...)
		} else {
			return nil, err
		}
	}
	return found, nil
}

func (f *files) holdsKustomization(folder string) bool {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if found, ok := f.tree.look(path.Join(folder, name)); ok && found.Mode != modeFolder {
			return true
		}
	}
	return false
}
