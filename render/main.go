// trueup-render turns Kustomize folders, Helm charts and Jsonnet files into Kubernetes objects with the reference
// libraries themselves. It is a worker: its parent gives it a tree by name and hands it files when it asks for them.
// It opens no file, makes no connection and starts no program.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
)

const (
	maxStackBytes = 256 << 20
	protocol      = 1
)

func main() {
	memory := flag.Int64("memory", 1<<30, "bytes of memory")
	uid := flag.Int("uid", 0, "the user to become; 0: stay")
	flag.Parse()
	log.SetOutput(io.Discard) // the libraries' own chatter: what matters comes back as a fault
	slog.SetDefault(slog.New(slog.DiscardHandler))
	http.DefaultTransport = refusing{}
	http.DefaultClient = &http.Client{Transport: refusing{}}
	debug.SetMaxStack(maxStackBytes)
	debug.SetGCPercent(200)
	debug.SetMemoryLimit(*memory / 10 * 9)
	if err := os.Unsetenv("PATH"); err != nil {
		fatal(err)
	}
	if err := limit(*memory); err != nil {
		fatal(err)
	}
	if err := become(*uid); err != nil {
		fatal(err)
	}
	confined := confine()
	wire := newWire(os.Stdin, os.Stdout)
	if err := wire.send(hello{Protocol: protocol, Confined: confined, Versions: versions()}); err != nil {
		fatal(err)
	}
	if err := serve(wire); err != nil && !errors.Is(err, io.EOF) {
		fatal(err)
	}
}

func serve(wire *wire) error {
	kept := newKept()
	for {
		var asked request
		if err := wire.receive(&asked); err != nil {
			return err
		}
		if err := wire.send(answer{Done: render(asked, &tree{wire: wire, id: asked.Tree, kept: kept})}); err != nil {
			return err
		}
	}
}

// render does one request. A panic of a library is that render's fault alone.
func render(asked request, from *tree) (done *outcome) {
	defer func() {
		if problem := recover(); problem != nil {
			var lost *parentLost
			if err, ok := problem.(error); ok && errors.As(err, &lost) {
				panic(problem)
			}
			done = &outcome{Fault: &fault{Message: fmt.Sprintf("the renderer gave up: %v", problem), File: asked.Path}}
		}
		done.Trace = from.trace()
	}()
	switch asked.Kind {
	case "kustomize":
		return kustomize(asked, from)
	case "helm":
		return helm(asked, from)
	case "jsonnet":
		return evaluate(asked, from)
	case "health":
		return judgeAll(asked)
	case "template":
		return texts(asked)
	case "jq":
		return jqPathsOf(asked)
	}
	return &outcome{Fault: &fault{Message: fmt.Sprintf("no renderer is called %q", asked.Kind)}}
}

// refusing stands in for the network. The libraries never reach it when a remote is named by its own message first.
type refusing struct{}

func (refusing) RoundTrip(asked *http.Request) (*http.Response, error) {
	return nil, fmt.Errorf("%s is remote, and a render reaches no network", asked.URL.Redacted())
}

func versions() map[string]string {
	found := map[string]string{}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return found
	}
	for _, module := range info.Deps {
		switch module.Path {
		case "sigs.k8s.io/kustomize/api", "helm.sh/helm/v4", "github.com/google/go-jsonnet", "sigs.k8s.io/yaml",
			"github.com/google/cel-go", "github.com/itchyny/gojq", "github.com/yuin/gopher-lua", "sigs.k8s.io/kustomize/kustomize/v5",
			"github.com/fluxcd/pkg/envsubst", "github.com/Masterminds/sprig/v3":
			found[module.Path] = module.Version
		}
	}
	return found
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "trueup-render:", err)
	os.Exit(1)
}
