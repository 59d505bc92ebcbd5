package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/itchyny/gojq"
)

// jq path expressions, as Argo CD evaluates those of ignoreDifferences: with gojq, one second each. They see the one
// object that they are given: no environment, no files, no further input.

const (
	jqTime  = time.Second
	jqPaths = 10000
)

func jqPathsOf(asked request) *outcome {
	var body any
	if err := json.Unmarshal(asked.Input, &body); err != nil {
		return &outcome{Fault: &fault{Message: fmt.Sprintf("the object is no JSON: %v", err)}}
	}
	found := []any{}
	for _, program := range asked.Programs {
		paths, err := jqPath(program, body)
		if err != nil {
			return &outcome{Fault: &fault{
				Message: fmt.Sprintf("the jq expression %q: %v", program, err),
				Fix:     "Write a path expression, as in .spec.template.spec.containers[].image",
			}}
		}
		if found = append(found, paths...); len(found) > jqPaths {
			return &outcome{Fault: &fault{Message: fmt.Sprintf("the jq expression %q means more than %d fields", program, jqPaths)}}
		}
	}
	encoded, err := json.Marshal(found)
	if err != nil {
		return &outcome{Fault: &fault{Message: err.Error()}}
	}
	return &outcome{Paths: encoded}
}

func jqPath(program string, body any) ([]any, error) {
	inner, err := gojq.Parse(program)
	if err != nil {
		return nil, err
	}
	query, err := gojq.Parse(fmt.Sprintf("[limit(%d; path(%s))]", jqPaths+1, inner))
	if err != nil {
		return nil, err
	}
	code, err := gojq.Compile(query)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), jqTime)
	defer cancel()
	value, ok := code.RunWithContext(ctx, body).Next()
	if !ok {
		return nil, nil
	}
	if err, ok := value.(error); ok {
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("it took more than %v and was stopped", jqTime)
		}
		return nil, err
	}
	return value.([]any), nil
}
