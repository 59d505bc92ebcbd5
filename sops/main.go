// trueup-sops opens files that SOPS encrypted, with SOPS' own libraries. It reads one request from stdin, keys
// included, writes one answer and ends. It opens no file, makes no connection and starts no program.
package main

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/getsops/sops/v3/logging"
	"github.com/sirupsen/logrus"
)

const (
	memoryBytes = 1 << 30
	maxFrame    = 128 << 20
)

// request is what the parent asks: keys as text, and files.
type request struct {
	Age   string `json:"age"` // age identities, one a line; an SSH private key may be one of them
	SSH   string `json:"ssh"` // SSH private keys, in PEM
	PGP   string `json:"pgp"` // armored PGP private keys
	Files []file `json:"files"`
}

type file struct {
	Path   string `json:"path"`
	Format string `json:"format"` // yaml, json, dotenv, ini, binary
	Data   []byte `json:"data"`
}

type answer struct {
	Fault  string   `json:"fault"` // of a key, before any file was looked at
	Opened []opened `json:"opened"`
}

// opened is one file in the clear, or why not. A fault holds nothing of what is encrypted.
type opened struct {
	Data  []byte `json:"data"`
	Fault string `json:"fault"`
	Fix   string `json:"fix"`
	Named string `json:"named"` // the name of the value at fault, with dots; "" when it is the whole file
	NoKey bool   `json:"no_key"`
}

func main() {
	uid := flag.Int("uid", 0, "the user to become; 0: stay")
	flag.Parse()
	for _, logger := range logging.Loggers {
		logger.SetOutput(io.Discard) // SOPS logs what it could not decrypt
	}
	logrus.SetOutput(io.Discard)
	debug.SetTraceback("none")
	if err := limit(memoryBytes); err != nil {
		fatal(err)
	}
	if err := become(*uid); err != nil {
		fatal(err)
	}
	if err := hide(); err != nil {
		fatal(err)
	}
	confine()
	var asked request
	if err := receive(os.Stdin, &asked); err != nil {
		fatal(err)
	}
	if err := send(os.Stdout, open(asked)); err != nil {
		fatal(err)
	}
}

func receive(from io.Reader, into any) error {
	var head [4]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return fmt.Errorf("no request: %w", err)
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxFrame {
		return fmt.Errorf("a request of %d bytes is larger than %d", size, maxFrame)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(from, body); err != nil {
		return fmt.Errorf("half a request: %w", err)
	}
	if json.Unmarshal(body, into) != nil {
		return fmt.Errorf("the request is no JSON of this protocol") // its own message could quote a key
	}
	return nil
}

func send(to io.Writer, message any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("cannot encode an answer")
	}
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(body)))
	if _, err := to.Write(append(head[:], body...)); err != nil {
		return fmt.Errorf("cannot answer: %w", err)
	}
	return nil
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "trueup-sops:", err)
	os.Exit(1)
}
