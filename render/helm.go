package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"sort"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"helm.sh/helm/v4/pkg/ignore"
	release "helm.sh/helm/v4/pkg/release/v1"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	"helm.sh/helm/v4/pkg/strvals"
	"sigs.k8s.io/yaml"
)

const notes = "NOTES.txt"

var byteOrderMark = []byte{0xEF, 0xBB, 0xBF}

// chance names the template functions whose result differs from one call to the next.
var chance = regexp.MustCompile(
	`\b(rand(Alpha|AlphaNum|Ascii|Numeric|Bytes|Int)|shuffle|uuidv4|now|ago|htmlDate|date|dateInZone|genPrivateKey|genCA` +
		`|genCAWithKey|genSelfSignedCert|genSelfSignedCertWithKey|genSignedCert|genSignedCertWithKey|bcrypt|htpasswd|encryptAES)\b`)

// helm renders as `helm template` does: values, schema, dependencies, templates, sorted; hooks apart.
// Source: helm v4.2.4, pkg/action/install.go RunWithContext and pkg/action/action.go renderResources.
func helm(asked request, from *tree) *outcome {
	work := &charting{asked: asked, tree: from}
	done, err := work.render(time.Time{})
	if err != nil {
		return &outcome{Fault: work.fault(err)}
	}
	if asked.SecondSeed && work.byChance {
		again, err := work.render(time.Now().Add(1000 * time.Hour))
		if err != nil {
			return &outcome{Fault: work.fault(err)}
		}
		done.Differs = differing(done, again)
	}
	return done
}

type charting struct {
	asked    request
	tree     *tree
	name     string // the chart's, which is the first part of its templates' names
	byChance bool
}

// render is one whole rendering; `now` is what templates see as the time, zero for the real one.
func (c *charting) render(now time.Time) (*outcome, error) {
	given, err := c.values()
	if err != nil {
		return nil, err
	}
	loaded, err := c.load()
	if err != nil {
		return nil, err
	}
	if err := c.installable(loaded); err != nil {
		return nil, err
	}
	if err := chartutil.ProcessDependencies(loaded, given); err != nil {
		return nil, fmt.Errorf("chart dependencies processing failed: %w", err)
	}
	capabilities, err := c.capabilities()
	if err != nil {
		return nil, err
	}
	options := common.ReleaseOptions{
		Name: c.asked.Release, Namespace: c.asked.Namespace, Revision: 1,
		IsInstall: !c.asked.Upgrade, IsUpgrade: c.asked.Upgrade,
	}
	top, err := util.ToRenderValuesWithSchemaValidation(loaded, given, options, capabilities, c.asked.SkipSchema)
	if err != nil {
		return nil, err
	}
	if wanted := loaded.Metadata.KubeVersion; wanted != "" &&
		!chartutil.IsCompatibleRange(wanted, capabilities.KubeVersion.String()) {
		return nil, c.stated("kubeVersion", fmt.Sprintf(
			"the chart needs Kubernetes %s, and this is %s", wanted, capabilities.KubeVersion.Version,
		), "Use another version of the chart, or state the version of the cluster.")
	}
	renderer := engine.Engine{}
	if !now.IsZero() {
		renderer.CustomTemplateFuncs = map[string]any{"now": func() time.Time { return now }}
	}
	rendered, err := renderer.Render(loaded, top)
	if err != nil {
		return nil, err
	}
	return c.sorted(loaded, rendered)
}

// sorted takes rendered templates apart: notes, hooks and manifests in Helm's own order of installation.
func (c *charting) sorted(loaded *chart.Chart, rendered map[string]string) (*outcome, error) {
	done := &outcome{Notes: rendered[path.Join(loaded.Name(), "templates", notes)]}
	for name := range rendered {
		if strings.HasSuffix(name, notes) {
			delete(rendered, name)
		}
	}
	hooks, manifests, err := releaseutil.SortManifests(rendered, nil, releaseutil.InstallOrder)
	if err != nil {
		return nil, err
	}
	if !c.asked.SkipCRDs {
		for _, crd := range loaded.CRDObjects() {
			for _, text := range ordered(releaseutil.SplitManifests(string(crd.File.Data))) {
				if err := c.add(done, crd.Filename, text, true); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, one := range manifests {
		if err := c.add(done, one.Name, one.Content, false); err != nil {
			return nil, err
		}
	}
	for _, one := range hooks {
		if c.asked.SkipTests && isTest(one) {
			continue
		}
		body, err := c.body(done, one.Path, one.Manifest)
		if err != nil {
			return nil, err
		}
		done.Hooks = append(done.Hooks, hooked(one, object{Origin: c.file(one.Path), Body: body}))
	}
	return done, nil
}

func ordered(parts map[string]string) []string {
	keys := make([]string, 0, len(parts))
	for key := range parts {
		keys = append(keys, key)
	}
	sort.Sort(releaseutil.BySplitManifestsOrder(keys))
	texts := make([]string, 0, len(keys))
	for _, key := range keys {
		texts = append(texts, parts[key])
	}
	return texts
}

func hooked(from *release.Hook, made object) hook {
	made2 := hook{object: made, Weight: from.Weight, Events: []string{}, Deletion: []string{}}
	for _, event := range from.Events {
		made2.Events = append(made2.Events, event.String())
	}
	for _, policy := range from.DeletePolicies {
		made2.Deletion = append(made2.Deletion, string(policy))
	}
	return made2
}

func isTest(one *release.Hook) bool {
	for _, event := range one.Events {
		if event == release.HookTest {
			return true
		}
	}
	return false
}

func (c *charting) add(done *outcome, origin, text string, crd bool) error {
	body, err := c.body(done, origin, text)
	if err != nil || body == nil {
		return err
	}
	done.Objects = append(done.Objects, object{Origin: c.file(origin), Body: body, CRD: crd})
	return nil
}

// body is one document as Kubernetes reads YAML; nil for an empty one. A key stated twice is a warning, as the later
// one wins upstream.
func (c *charting) body(done *outcome, origin, text string) (json.RawMessage, error) {
	made, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		lenient, again := yaml.YAMLToJSON([]byte(text))
		if again != nil {
			return nil, fmt.Errorf("YAML parse error on %s: %w", origin, again)
		}
		done.Warnings = append(done.Warnings, fault{
			Message: strings.TrimPrefix(err.Error(), "yaml: unmarshal errors:\n  "), File: c.file(origin),
			Fix: "State it once; the last one counts.",
		})
		made = lenient
	}
	if bytes.Equal(made, []byte("null")) {
		return nil, nil
	}
	return made, nil
}

// load reads the chart's files as Helm's own folder loader does: .helmignore, no links, no file above its limit.
func (c *charting) load() (*chart.Chart, error) {
	root := c.asked.Path
	rules := ignore.Empty()
	if _, ok := c.tree.look(path.Join(root, ignore.HelmIgnore)); ok {
		data, err := c.tree.read(path.Join(root, ignore.HelmIgnore))
		if err != nil {
			return nil, err
		}
		if rules, err = ignore.Parse(bytes.NewReader(data)); err != nil {
			return nil, fmt.Errorf("%s: %w", path.Join(root, ignore.HelmIgnore), err)
		}
	}
	rules.AddDefaults()
	var chosen []entry
	var oids []string
	for _, one := range c.tree.below(root) {
		if ignored(rules, one.Name) {
			continue
		}
		if err := readable(path.Join(root, one.Name), one); err != nil {
			return nil, err
		}
		chosen, oids = append(chosen, one), append(oids, one.Oid)
	}
	if err := c.tree.need(oids); err != nil {
		return nil, &faulty{fault{Message: err.Error(), File: root, Fix: "Run `git fsck` in the repository."}}
	}
	loading := make([]*archive.BufferedFile, 0, len(chosen))
	for _, one := range chosen {
		at := path.Join(root, one.Name)
		data, err := c.tree.content(one.Oid)
		if err != nil {
			return nil, &faulty{fault{Message: err.Error(), File: at}}
		}
		c.tree.note("file", at, one.Oid)
		c.tree.hold(at, data)
		if int64(len(data)) > archive.MaxDecompressedFileSize {
			return nil, &faulty{fault{
				Message: fmt.Sprintf("%d bytes, and Helm loads no file above %d", len(data), archive.MaxDecompressedFileSize),
				File:    at, Fix: "Leave it out with a line in .helmignore.",
			}}
		}
		loading = append(loading, &archive.BufferedFile{Name: one.Name, Data: bytes.TrimPrefix(data, byteOrderMark)})
	}
	if err := c.version(loading); err != nil {
		return nil, err
	}
	loaded, err := loader.LoadFiles(loading)
	if err != nil {
		return nil, err
	}
	c.name = loaded.Name()
	c.byChance = usesChance(loaded)
	return loaded, nil
}

func (c *charting) version(loading []*archive.BufferedFile) error {
	at := path.Join(c.asked.Path, "Chart.yaml")
	for _, one := range loading {
		if one.Name != "Chart.yaml" {
			continue
		}
		var head struct {
			APIVersion string `json:"apiVersion"`
		}
		if err := yaml.Unmarshal(one.Data, &head); err != nil {
			return fmt.Errorf("cannot load Chart.yaml: %w", err)
		}
		switch head.APIVersion {
		case chart.APIVersionV1, chart.APIVersionV2, "":
			return nil
		}
		return c.stated("apiVersion", fmt.Sprintf("chart apiVersion %q is not rendered by this version", head.APIVersion),
			"Use apiVersion: v2.")
	}
	return &faulty{fault{Message: "there is no Chart.yaml", File: at, Fix: "Name the folder that holds the chart."}}
}

func ignored(rules *ignore.Rules, name string) bool {
	for i, letter := range name {
		if letter == '/' && rules.Ignore(name[:i], info{name[:i], true}) {
			return true
		}
	}
	return rules.Ignore(name, info{name, false})
}

func usesChance(loaded *chart.Chart) bool {
	for _, one := range loaded.Templates {
		if chance.Match(one.Data) {
			return true
		}
	}
	for _, dependency := range loaded.Dependencies() {
		if usesChance(dependency) {
			return true
		}
	}
	return bytes.Contains(mustJSON(loaded.Values), []byte("{{")) // templates in values, run by `tpl`
}

func mustJSON(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		return nil
	}
	return data
}

func (c *charting) installable(loaded *chart.Chart) error {
	if kind := loaded.Metadata.Type; kind != "" && kind != "application" {
		return c.stated("type", kind+" charts are not installable", "Name the chart that uses it.")
	}
	for _, wanted := range loaded.Metadata.Dependencies {
		if !has(loaded, wanted.Name) {
			return c.stated(wanted.Name, fmt.Sprintf("dependency %s is stated in Chart.yaml but is not in charts/", wanted.Name),
				fmt.Sprintf("Run `helm dependency build %s` and commit charts/.", orDot(c.asked.Path)))
		}
	}
	return nil
}

func has(loaded *chart.Chart, name string) bool {
	for _, one := range loaded.Dependencies() {
		if one.Name() == name {
			return true
		}
	}
	return false
}

func orDot(at string) string {
	if at == "" {
		return "."
	}
	return at
}

func (c *charting) capabilities() (*common.Capabilities, error) {
	found := common.DefaultCapabilities.Copy()
	if c.asked.KubeVersion != "" {
		version, err := common.ParseKubeVersion(c.asked.KubeVersion)
		if err != nil {
			return nil, fmt.Errorf("invalid kube version %q: %w", c.asked.KubeVersion, err)
		}
		found.KubeVersion = *version
	}
	found.APIVersions = append(found.APIVersions, c.asked.APIVersions...)
	return found, nil
}

// values merges what is given over the chart's own: files in order, then YAML, --set, --set-string, --set-file.
// Source: helm v4.2.4, pkg/cli/values/options.go MergeValues.
func (c *charting) values() (map[string]any, error) {
	merged := map[string]any{}
	for _, at := range c.asked.ValuesFiles {
		if _, ok := c.tree.look(at); !ok {
			return nil, &faulty{fault{Message: "no such values file in this commit", File: at, Fix: "Restore it, or do not name it."}}
		}
		data, err := c.tree.read(at)
		if err != nil {
			return nil, err
		}
		read, err := loader.LoadValues(bytes.NewReader(data))
		if err != nil {
			return nil, &faulty{yamlFault(at, err)}
		}
		merged = loader.MergeMaps(merged, read)
	}
	if c.asked.Values != "" {
		read, err := loader.LoadValues(strings.NewReader(c.asked.Values))
		if err != nil {
			return nil, fmt.Errorf("the values given are no YAML: %w", err)
		}
		merged = loader.MergeMaps(merged, read)
	}
	for _, one := range c.asked.Set {
		if err := strvals.ParseInto(one, merged); err != nil {
			return nil, fmt.Errorf("failed parsing --set %s: %w", one, err)
		}
	}
	for _, one := range c.asked.SetString {
		if err := strvals.ParseIntoString(one, merged); err != nil {
			return nil, fmt.Errorf("failed parsing --set-string %s: %w", one, err)
		}
	}
	for _, one := range c.asked.SetFile {
		reader := func(name []rune) (any, error) {
			data, err := c.tree.read(inside(string(name)))
			return string(data), err
		}
		if err := strvals.ParseIntoFile(one, merged, reader); err != nil {
			return nil, fmt.Errorf("failed parsing --set-file %s: %w", one, err)
		}
	}
	return merged, nil
}

func differing(one, other *outcome) []string {
	found := map[string]bool{}
	before, after := byOrigin(one), byOrigin(other)
	for origin := range before {
		if before[origin] != after[origin] {
			found[origin] = true
		}
	}
	for origin := range after {
		if _, ok := before[origin]; !ok {
			found[origin] = true
		}
	}
	names := make([]string, 0, len(found))
	for origin := range found {
		names = append(names, origin)
	}
	sort.Strings(names)
	return names
}

func byOrigin(from *outcome) map[string]string {
	found := map[string]string{}
	for _, one := range from.Objects {
		found[one.Origin] += string(one.Body) + "\n"
	}
	for _, one := range from.Hooks {
		found[one.Origin] += string(one.Body) + "\n"
	}
	return found
}
