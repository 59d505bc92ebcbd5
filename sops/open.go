package main

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/stores/dotenv"
	"github.com/getsops/sops/v3/stores/ini"
	"github.com/getsops/sops/v3/stores/json"
	"github.com/getsops/sops/v3/stores/yaml"
)

func open(asked request) answer {
	keys, err := newRing(asked)
	if err != nil {
		return answer{Fault: err.Error()}
	}
	found := make([]opened, 0, len(asked.Files))
	for _, one := range asked.Files {
		found = append(found, openOne(one, keys))
	}
	return answer{Opened: found}
}

func openOne(one file, keys *ring) (made opened) {
	defer func() {
		if recover() != nil { // what it says could quote a value
			made = opened{Fault: "SOPS' library gave up on it", Fix: "Encrypt the file again with `sops`."}
		}
	}()
	store := storeOf(one.Format)
	if store == nil {
		return opened{Fault: fmt.Sprintf("no format of SOPS is called %q", one.Format), Fix: "Report this."}
	}
	tree, err := store.LoadEncryptedFile(one.Data)
	if errors.Is(err, sops.MetadataNotFound) {
		return opened{Fault: "no metadata of SOPS stands in it", Fix: "Encrypt it with `sops encrypt`."}
	}
	if err != nil {
		return opened{Fault: "SOPS cannot read it as " + one.Format, Fix: "Restore it, or encrypt it again with `sops`."}
	}
	return openTree(tree, store, keys)
}

func openTree(tree sops.Tree, store sops.Store, keys *ring) opened {
	key, err := tree.Metadata.GetDataKeyWithKeyServices([]keyservice.KeyServiceClient{keys}, sops.DefaultDecryptionOrder)
	if err != nil {
		return opened{Fault: "none of the given keys opens it: " + recipients(tree.Metadata), Fix: wanted(tree.Metadata), NoKey: true}
	}
	cipher := &watched{Cipher: aes.NewCipher()}
	computed, err := tree.Decrypt(key, cipher)
	if err != nil {
		return opened{
			Fault: "a value was changed, moved or left unencrypted after `sops` wrote the file",
			Named: cipher.failed, Fix: "Change encrypted files with `sops edit` only.",
		}
	}
	stated, err := cipher.Decrypt(
		tree.Metadata.MessageAuthenticationCode, key, tree.Metadata.LastModified.Format(time.RFC3339),
	)
	text, ok := stated.(string)
	if err != nil || !ok || subtle.ConstantTimeCompare([]byte(text), []byte(computed)) != 1 {
		return opened{
			Fault: "its MAC does not match: something in it was changed after `sops` wrote it",
			Fix:   "Restore the file from Git, and change it with `sops edit` only.",
		}
	}
	plain, err := store.EmitPlainFile(tree.Branches)
	if err != nil {
		return opened{Fault: "SOPS cannot write it in the clear", Fix: "Encrypt it again with `sops`."}
	}
	return opened{Data: plain}
}

func storeOf(format string) sops.Store {
	switch format {
	case "yaml":
		return yaml.NewStore(&config.YAMLStoreConfig{})
	case "json":
		return json.NewStore(&config.JSONStoreConfig{Indent: -1})
	case "dotenv":
		return dotenv.NewStore(&config.DotenvStoreConfig{})
	case "ini":
		return ini.NewStore(&config.INIStoreConfig{})
	case "binary":
		return json.NewBinaryStore(&config.JSONBinaryStoreConfig{})
	}
	return nil
}

// watched remembers the name of the value that could not be decrypted; SOPS' own errors quote the value.
type watched struct {
	aes.Cipher
	failed string
}

func (w *watched) Decrypt(encrypted string, key []byte, path string) (any, error) {
	value, err := w.Cipher.Decrypt(encrypted, key, path)
	if err != nil {
		w.failed = strings.ReplaceAll(strings.TrimSuffix(path, ":"), ":", ".")
	}
	return value, err
}

// recipients names whom a file is encrypted for, by what is public of each.
func recipients(metadata sops.Metadata) string {
	var names []string
	for _, group := range metadata.KeyGroups {
		for _, key := range group {
			names = append(names, key.TypeToIdentifier()+" "+key.ToString())
		}
	}
	if len(names) == 0 {
		return "it names no key at all"
	}
	said := "it is encrypted for " + strings.Join(names, ", ")
	if len(metadata.KeyGroups) > 1 {
		said += fmt.Sprintf(" (keys of %d of %d groups are needed)", metadata.ShamirThreshold, len(metadata.KeyGroups))
	}
	return said
}

func wanted(metadata sops.Metadata) string {
	var fixes []string
	kinds := map[string]bool{}
	for _, group := range metadata.KeyGroups {
		for _, key := range group {
			kinds[key.TypeToIdentifier()] = true
		}
	}
	if kinds["age"] {
		fixes = append(fixes, "`trueup secret set SOPS_AGE_KEY`")
	}
	if kinds["pgp"] {
		fixes = append(fixes, "`trueup secret set SOPS_PGP_KEY`")
	}
	if len(fixes) == 0 {
		return "Keys of cloud services are not served: add an age recipient with `sops updatekeys`."
	}
	return "Set the private key: " + strings.Join(fixes, " or ") + "."
}
