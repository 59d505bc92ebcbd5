package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"github.com/fluxcd/pkg/envsubst"
	"github.com/gosimple/slug"
	"github.com/valyala/fasttemplate"
	"sigs.k8s.io/yaml"
)

// texts fills in every text of a body, keys of mappings included, once for each set of parameters, as an ApplicationSet
// does: with Go's templates and sprig, or by names alone. Source: Argo CD v3.5.7, applicationset/utils/utils.go.
func texts(asked request) *outcome {
	var body any
	if err := json.Unmarshal(asked.Body, &body); err != nil {
		return &outcome{Fault: &fault{Message: "the template is no JSON: " + err.Error()}}
	}
	filler := byName
	if asked.GoTemplate {
		base := template.New("").Funcs(templateFunctions())
		filler = func(text string, params map[string]any) (string, error) {
			return byTemplate(base, asked.Options, text, params)
		}
	}
	done := &outcome{Objects: []object{}}
	for _, params := range asked.Params {
		filled, err := fill(body, params, filler)
		if err != nil {
			return &outcome{Fault: &fault{Message: firstLine(err), File: asked.Path}}
		}
		data, err := json.Marshal(filled)
		if err != nil {
			return &outcome{Fault: &fault{Message: err.Error(), File: asked.Path}}
		}
		done.Objects = append(done.Objects, object{Body: data})
	}
	return done
}

type filling func(text string, params map[string]any) (string, error)

func fill(value any, params map[string]any, filler filling) (any, error) {
	switch given := value.(type) {
	case string:
		return filler(given, params)
	case []any:
		filled := make([]any, len(given))
		for i, item := range given {
			made, err := fill(item, params, filler)
			if err != nil {
				return nil, err
			}
			filled[i] = made
		}
		return filled, nil
	case map[string]any:
		filled := make(map[string]any, len(given))
		for key, item := range given {
			name, err := filler(key, params)
			if err != nil {
				return nil, err
			}
			if filled[name], err = fill(item, params, filler); err != nil {
				return nil, err
			}
		}
		return filled, nil
	}
	return value, nil
}

func byTemplate(base *template.Template, options []string, text string, params map[string]any) (made string, err error) {
	defer func() {
		if problem := recover(); problem != nil { // Option panics when it knows none of that name
			err = fmt.Errorf("%v", problem)
		}
	}()
	own, err := base.Clone()
	if err != nil {
		return "", err
	}
	parsed, err := own.Option(options...).Parse(text)
	if err != nil {
		return "", err
	}
	var into bytes.Buffer
	if err := parsed.Execute(&into, params); err != nil {
		return "", err
	}
	return into.String(), nil
}

var templated = regexp.MustCompile(`.*{{.*}}.*`)

// byName puts a parameter in the place of its name; a name that is no parameter stays as it stands.
func byName(text string, params map[string]any) (string, error) {
	if !templated.MatchString(text) {
		return text, nil
	}
	parsed, err := fasttemplate.NewTemplate(text, "{{", "}}")
	if err != nil {
		return "", err
	}
	return parsed.ExecuteFuncString(func(into io.Writer, tag string) (int, error) {
		value, known := params[strings.TrimSpace(tag)].(string)
		if !known || strings.TrimSpace(tag) == "" {
			return io.WriteString(into, "{{"+tag+"}}")
		}
		return io.WriteString(into, value)
	}), nil
}

func templateFunctions() template.FuncMap {
	functions := sprig.GenericFuncMap()
	for _, told := range []string{"env", "expandenv", "getHostByName"} { // what tells of the machine
		delete(functions, told)
	}
	functions["normalize"] = normalize
	functions["slugify"] = slugify
	functions["toYaml"] = func(value any) (string, error) {
		data, err := yaml.Marshal(value)
		return strings.TrimSuffix(string(data), "\n"), err
	}
	functions["fromYaml"] = func(text string) (map[string]any, error) {
		found := map[string]any{}
		return found, yaml.Unmarshal([]byte(text), &found)
	}
	functions["fromYamlArray"] = func(text string) ([]any, error) {
		found := []any{}
		return found, yaml.Unmarshal([]byte(text), &found)
	}
	return functions
}

var notInNames = regexp.MustCompile(`[^-a-z0-9.]`)

func normalize(name string) string {
	name = notInNames.ReplaceAllString(strings.ToLower(name), "-")
	return strings.Trim(name[:min(len(name), 253)], "-.")
}

// slugify takes [the longest length, [whether to cut between words,]] and the name.
func slugify(given ...any) (string, error) {
	name, longest, whole := "", 50, true
	if len(given) > 0 {
		var ok bool
		if name, ok = given[len(given)-1].(string); !ok {
			return "", fmt.Errorf("slugify: the last argument is a name")
		}
	}
	if len(given) > 1 {
		length, ok := given[0].(int)
		if !ok {
			return "", fmt.Errorf("slugify: the first argument is a length")
		}
		longest = length
	}
	if len(given) > 2 {
		smart, ok := given[1].(bool)
		if !ok {
			return "", fmt.Errorf("slugify: the second argument is true or false")
		}
		whole = smart
	}
	slug.MaxLength, slug.EnableSmartTruncate = longest, whole
	return slug.Make(normalize(name)), nil
}

const substituteKey = "kustomize.toolkit.fluxcd.io/substitute"

var variable = regexp.MustCompile(`^[_[:alpha:]][_[:alpha:][:digit:]]*$`)

// substitute puts variables into an object as Flux does after a build: into its YAML, which is then read again.
// Source: fluxcd/pkg/kustomize v1.35.7, kustomize_varsub.go.
func substitute(body json.RawMessage, variables map[string]string) (json.RawMessage, *fault) {
	for name := range variables {
		if !variable.MatchString(name) {
			return nil, &fault{
				Message: fmt.Sprintf("%q is no name of a variable", name),
				Fix:     "Use letters, digits and _, not a digit first.",
			}
		}
	}
	made, err := substituted(body, variables)
	if err != nil {
		return nil, &fault{
			Message: fmt.Sprintf("variables cannot be put into %s: %s", named(body), firstLine(err)),
			Fix: "Write $${…} for a text that is no variable, or annotate the object with " + substituteKey +
				": disabled.",
		}
	}
	return made, nil
}

type head struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name        string            `json:"name"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
}

func named(body []byte) string {
	var found head
	_ = json.Unmarshal(body, &found)
	return found.Kind + "/" + found.Metadata.Name
}

func substituted(body json.RawMessage, variables map[string]string) (json.RawMessage, error) {
	var found head
	if err := json.Unmarshal(body, &found); err != nil {
		return nil, err
	}
	if found.Metadata.Labels[substituteKey] == "disabled" || found.Metadata.Annotations[substituteKey] == "disabled" {
		return body, nil
	}
	text, err := yaml.JSONToYAML(body)
	if err != nil {
		return nil, err
	}
	filled, err := envsubst.Eval(string(text), func(name string) (string, bool) { return variables[name], true })
	if err != nil {
		return nil, err
	}
	return yaml.YAMLToJSON([]byte(filled))
}
