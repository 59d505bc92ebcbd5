package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
	lua "github.com/yuin/gopher-lua"
)

// Health by a user's own rules: the Lua of an argocd-cm, run with the libraries that Argo CD opens for it, and CEL as
// Flux evaluates healthCheckExprs. A rule sees the one object, and has a second.
// Source: argo-cd util/lua/lua.go; fluxcd/pkg runtime/cel (status_evaluator.go, expression.go, RFC 0009).

const (
	ruleTime    = time.Second
	luaStack    = 200
	luaRegistry = 1 << 20
	celCost     = 10_000_000 // ends what swallows its own interruption, as `all` does
)

type healthRule struct {
	Lua        string `json:"lua"`
	Open       bool   `json:"open"` // the standard libraries, as far as they reach nothing outside
	Current    string `json:"current"`
	InProgress string `json:"in_progress"`
	Failed     string `json:"failed"`
}

type healthInput struct {
	Rule int             `json:"rule"`
	Body json.RawMessage `json:"body"`
}

// judged is what a rule says. With a fault nothing is known; line counts from 1 within the script, 0 not known.
type judged struct {
	Status  string `json:"status"`
	Message string `json:"message"`
	Fault   string `json:"fault,omitempty"`
	Line    int    `json:"line,omitempty"`
}

func judgeAll(asked request) *outcome {
	done := &outcome{Judged: []judged{}}
	evaluators := make([]*statusRule, len(asked.Rules))
	for _, one := range asked.Inputs {
		if one.Rule < 0 || one.Rule >= len(asked.Rules) {
			return &outcome{Fault: &fault{Message: fmt.Sprintf("there is no rule %d", one.Rule)}}
		}
		body, err := mapping(one.Body)
		if err != nil {
			done.Judged = append(done.Judged, judged{Fault: "the object is no mapping"})
			continue
		}
		rule := asked.Rules[one.Rule]
		if rule.Lua != "" {
			done.Judged = append(done.Judged, byLua(rule, body))
			continue
		}
		if evaluators[one.Rule] == nil {
			evaluators[one.Rule] = newStatusRule(rule)
		}
		done.Judged = append(done.Judged, evaluators[one.Rule].judge(body))
	}
	return done
}

// mapping reads an object with whole numbers as such, as both languages have them from a cluster.
func mapping(data json.RawMessage) (map[string]any, error) {
	reader := json.NewDecoder(bytes.NewReader(data))
	reader.UseNumber()
	var body map[string]any
	if err := reader.Decode(&body); err != nil {
		return nil, err
	}
	return numbers(body).(map[string]any), nil
}

func numbers(value any) any {
	switch value := value.(type) {
	case json.Number:
		if whole, err := value.Int64(); err == nil {
			return whole
		}
		real, _ := value.Float64()
		return real
	case []any:
		for i, item := range value {
			value[i] = numbers(item)
		}
	case map[string]any:
		for key, item := range value {
			value[key] = numbers(item)
		}
	}
	return value
}

// --- Lua -----------------------------------------------------------------------------------------------------------

var luaStatuses = map[string]bool{
	"Healthy": true, "Progressing": true, "Degraded": true, "Suspended": true, "Missing": true, "Unknown": true,
}

func byLua(rule healthRule, body map[string]any) judged {
	machine := lua.NewState(lua.Options{SkipOpenLibs: true, CallStackSize: luaStack, RegistryMaxSize: luaRegistry})
	defer machine.Close()
	ctx, cancel := context.WithTimeout(context.Background(), ruleTime)
	defer cancel()
	machine.SetContext(ctx)
	openLibraries(machine, rule.Open)
	machine.SetGlobal("obj", toLua(machine, body))
	if err := machine.DoString(rule.Lua); err != nil {
		if ctx.Err() != nil {
			return judged{Fault: fmt.Sprintf("it took more than %v and was stopped", ruleTime)}
		}
		return luaFault(err)
	}
	table, ok := machine.Get(-1).(*lua.LTable)
	if !ok {
		return judged{Fault: fmt.Sprintf("it returns a %s, not a table with status and message", machine.Get(-1).Type())}
	}
	status, message := table.RawGetString("status"), table.RawGetString("message")
	if !luaStatuses[status.String()] {
		return judged{Status: "Unknown", Message: "Lua returned an invalid health status"}
	}
	if message == lua.LNil {
		return judged{Status: status.String()}
	}
	return judged{Status: status.String(), Message: short(message.String())}
}

// openLibraries gives what Argo CD gives: base, package, table and an os that knows the time. With `open` also string,
// math and coroutine. What would open a file or write to our pipe is taken out.
func openLibraries(machine *lua.LState, open bool) {
	libraries := []struct {
		name string
		open lua.LGFunction
	}{{lua.LoadLibName, lua.OpenPackage}, {lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}}
	if open {
		libraries = append(libraries, struct {
			name string
			open lua.LGFunction
		}{lua.StringLibName, lua.OpenString}, struct {
			name string
			open lua.LGFunction
		}{lua.MathLibName, lua.OpenMath}, struct {
			name string
			open lua.LGFunction
		}{lua.CoroutineLibName, lua.OpenCoroutine})
	}
	for _, library := range libraries {
		machine.Push(machine.NewFunction(library.open))
		machine.Push(lua.LString(library.name))
		machine.Call(1, 0)
	}
	for _, name := range []string{"dofile", "loadfile"} {
		machine.SetGlobal(name, lua.LNil)
	}
	machine.SetGlobal("print", machine.NewFunction(func(*lua.LState) int { return 0 }))
	if loading, ok := machine.GetGlobal("package").(*lua.LTable); ok {
		loading.RawSetString("path", lua.LString(""))
		loading.RawSetString("cpath", lua.LString(""))
	}
	machine.PreloadModule(lua.OsLibName, func(state *lua.LState) int {
		state.Push(safeOs(state))
		return 1
	})
	machine.SetGlobal(lua.OsLibName, safeOs(machine))
}

// safeOs has time and date, as Argo CD's own.
func safeOs(machine *lua.LState) *lua.LTable {
	whole := machine.NewTable()
	full := machine.NewFunction(lua.OpenOs)
	before := machine.GetGlobal(lua.OsLibName)
	machine.Push(full)
	machine.Push(lua.LString(lua.OsLibName))
	machine.Call(1, 1)
	if opened, ok := machine.Get(-1).(*lua.LTable); ok {
		for _, name := range []string{"time", "date", "clock", "difftime"} {
			whole.RawSetString(name, opened.RawGetString(name))
		}
	}
	machine.Pop(1)
	machine.SetGlobal(lua.OsLibName, before)
	return whole
}

func toLua(machine *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case string:
		return lua.LString(value)
	case []any:
		list := machine.CreateTable(len(value), 0)
		for _, item := range value {
			list.Append(toLua(machine, item))
		}
		return list
	case map[string]any:
		table := machine.CreateTable(0, len(value))
		for key, item := range value {
			table.RawSetH(lua.LString(key), toLua(machine, item))
		}
		return table
	}
	return lua.LNil
}

var (
	luaLine   = regexp.MustCompile(`<string>:(\d+): (.*)`)
	luaSyntax = regexp.MustCompile(`<string> line:(\d+)\(column:\d+\) near '(.*)':\s*(.*)`)
)

func luaFault(err error) judged {
	text := err.Error()
	var problem *lua.ApiError
	if errors.As(err, &problem) && problem.Object != nil {
		text = problem.Object.String()
	}
	if match := luaSyntax.FindStringSubmatch(text); match != nil {
		line, _ := strconv.Atoi(match[1])
		return judged{Fault: short(fmt.Sprintf("%s near '%s'", match[3], match[2])), Line: line}
	}
	if strings.HasPrefix(text, "<string> at EOF:") {
		return judged{Fault: "syntax error: it ends too early"}
	}
	if match := luaLine.FindStringSubmatch(text); match != nil {
		line, _ := strconv.Atoi(match[1])
		return judged{Fault: short(match[2]), Line: line}
	}
	return judged{Fault: short(strings.SplitN(text, "\n", 2)[0])}
}

// --- CEL -----------------------------------------------------------------------------------------------------------

type statusRule struct {
	programs []celProgram
	fault    string
}

type celProgram struct {
	name, status string
	program      cel.Program
}

// newStatusRule keeps the order of RFC 0009: in progress, failed, current.
func newStatusRule(rule healthRule) *statusRule {
	made := &statusRule{}
	if rule.Current == "" {
		made.fault = "a rule needs `current`"
		return made
	}
	env, err := cel.NewEnv(
		cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Encoders(),
	)
	if err != nil {
		made.fault = err.Error()
		return made
	}
	for _, one := range []struct{ name, expression, status string }{
		{"inProgress", rule.InProgress, "Progressing"}, {"failed", rule.Failed, "Degraded"},
		{"current", rule.Current, "Healthy"},
	} {
		if one.expression == "" {
			continue
		}
		parsed, issues := env.Parse(one.expression)
		if issues != nil && issues.Err() != nil {
			made.fault = fmt.Sprintf("`%s` is no CEL: %s", one.name, firstLine(issues.Err()))
			return made
		}
		program, err := env.Program(parsed, cel.EvalOptions(cel.OptOptimize), cel.InterruptCheckFrequency(100), cel.CostLimit(celCost))
		if err != nil {
			made.fault = fmt.Sprintf("`%s`: %s", one.name, firstLine(err))
			return made
		}
		made.programs = append(made.programs, celProgram{one.name, one.status, program})
	}
	return made
}

func (rule *statusRule) judge(body map[string]any) judged {
	if rule.fault != "" {
		return judged{Fault: short(rule.fault)}
	}
	if behind(body) {
		return judged{Status: "Progressing", Message: "its controller has not seen the last change yet"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), ruleTime)
	defer cancel()
	for _, one := range rule.programs {
		value, _, err := one.program.ContextEval(ctx, body)
		if err != nil {
			return judged{Fault: short(fmt.Sprintf("`%s`: %s", one.name, firstLine(err)))}
		}
		said, ok := value.(types.Bool)
		if !ok {
			return judged{Fault: fmt.Sprintf("`%s` gives %v, neither true nor false", one.name, value.Type())}
		}
		if bool(said) {
			return judged{Status: one.status, Message: one.words()}
		}
	}
	return judged{Status: "Progressing"}
}

func (one celProgram) words() string {
	if one.status == "Healthy" {
		return ""
	}
	return fmt.Sprintf("`%s` holds", one.name)
}

func behind(body map[string]any) bool {
	status, _ := body["status"].(map[string]any)
	metadata, _ := body["metadata"].(map[string]any)
	observed, has := status["observedGeneration"].(int64)
	generation, stated := metadata["generation"].(int64)
	return has && stated && observed != generation
}

func firstLine(err error) string { return strings.SplitN(err.Error(), "\n", 2)[0] }
