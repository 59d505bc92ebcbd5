package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"github.com/ProtonMail/go-crypto/openpgp"
	pgparmor "github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/getsops/sops/v3/keyservice"
	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc"
)

// ring is the keys that were given. It is SOPS' key service: a data key is opened here, in memory, or not at all.
type ring struct {
	identities []age.Identity
	entities   openpgp.EntityList
}

var errNotHere = errors.New("none of the given keys")

func newRing(asked request) (*ring, error) {
	made := &ring{}
	if err := made.addAge(asked.Age); err != nil {
		return nil, err
	}
	if err := made.addSSH(asked.SSH, "SOPS_AGE_SSH_PRIVATE_KEY"); err != nil {
		return nil, err
	}
	return made, made.addPGP(asked.PGP)
}

// addAge reads identities as SOPS does, several a line allowed.
func (r *ring) addAge(text string) error {
	for at, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		for _, word := range strings.Fields(line) {
			identity, err := identityOf(word)
			if err != nil {
				return fmt.Errorf("SOPS_AGE_KEY, line %d: %w", at+1, err)
			}
			r.identities = append(r.identities, identity)
		}
	}
	return nil
}

// identityOf never quotes the word: it may be most of a key.
func identityOf(word string) (age.Identity, error) {
	var identity age.Identity
	var err error
	switch {
	case strings.HasPrefix(word, "AGE-PLUGIN-"):
		return nil, errors.New("an age plugin's identity, which would start a program: plugins are not served; give an AGE-SECRET-KEY")
	case strings.HasPrefix(word, "AGE-SECRET-KEY-PQ-1"):
		identity, err = age.ParseHybridIdentity(word)
	case strings.HasPrefix(word, "AGE-SECRET-KEY-1"):
		identity, err = age.ParseX25519Identity(word)
	default:
		return nil, errors.New("no age identity: it begins with AGE-SECRET-KEY-1, as age-keygen prints it")
	}
	if err != nil {
		return nil, errors.New("a damaged age identity: copy it whole, in one line")
	}
	return identity, nil
}

func (r *ring) addSSH(text, name string) error {
	rest := strings.TrimSpace(text)
	for rest != "" {
		end := strings.Index(rest, "-----END")
		line := len(rest)
		if end >= 0 {
			if stop := strings.IndexByte(rest[end:], '\n'); stop >= 0 {
				line = end + stop
			}
		}
		identity, err := agessh.ParseIdentity([]byte(rest[:line] + "\n"))
		var locked *ssh.PassphraseMissingError
		if errors.As(err, &locked) {
			return fmt.Errorf("%s is locked by a passphrase, which nobody is asked for: give one without (ssh-keygen -p)", name)
		}
		if err != nil {
			return fmt.Errorf("%s is no SSH private key of a kind that age knows (ed25519, rsa)", name)
		}
		r.identities = append(r.identities, identity)
		rest = strings.TrimSpace(rest[line:])
	}
	return nil
}

const pgpEnd = "-----END PGP PRIVATE KEY BLOCK-----"

func (r *ring) addPGP(text string) error {
	rest := strings.TrimSpace(text)
	for rest != "" {
		block, after, whole := strings.Cut(rest, pgpEnd)
		if !whole {
			return errors.New("SOPS_PGP_KEY is no armored private key: give what `gpg --export-secret-keys --armor FINGERPRINT` prints")
		}
		found, err := openpgp.ReadArmoredKeyRing(strings.NewReader(block + pgpEnd + "\n"))
		if err != nil {
			return errors.New("SOPS_PGP_KEY is damaged: give what `gpg --export-secret-keys --armor FINGERPRINT` prints, whole")
		}
		for _, entity := range found {
			if locked(entity) {
				return fmt.Errorf("SOPS_PGP_KEY %X is locked by a passphrase, which nobody is asked for: export one without", entity.PrimaryKey.Fingerprint)
			}
		}
		r.entities = append(r.entities, found...)
		rest = strings.TrimSpace(after)
	}
	return nil
}

func locked(entity *openpgp.Entity) bool {
	for _, subkey := range entity.Subkeys {
		if subkey.PrivateKey != nil && subkey.PrivateKey.Encrypted {
			return true
		}
	}
	return entity.PrivateKey != nil && entity.PrivateKey.Encrypted
}

// Encrypt is part of the key service; nothing is encrypted here.
func (r *ring) Encrypt(context.Context, *keyservice.EncryptRequest, ...grpc.CallOption) (*keyservice.EncryptResponse, error) {
	return nil, errNotHere
}

func (r *ring) Decrypt(_ context.Context, asked *keyservice.DecryptRequest, _ ...grpc.CallOption) (*keyservice.DecryptResponse, error) {
	var from io.Reader
	var err error
	switch asked.Key.KeyType.(type) {
	case *keyservice.Key_AgeKey:
		if len(r.identities) == 0 {
			return nil, errNotHere
		}
		from, err = age.Decrypt(armor.NewReader(bytes.NewReader(asked.Ciphertext)), r.identities...)
	case *keyservice.Key_PgpKey:
		from, err = r.decryptPGP(asked.Ciphertext)
	default:
		return nil, errNotHere
	}
	if err != nil {
		return nil, errNotHere
	}
	key, err := io.ReadAll(io.LimitReader(from, 1<<16))
	if err != nil {
		return nil, errNotHere
	}
	return &keyservice.DecryptResponse{Plaintext: key}, nil
}

func (r *ring) decryptPGP(encrypted []byte) (io.Reader, error) {
	if len(r.entities) == 0 {
		return nil, errNotHere
	}
	block, err := pgparmor.Decode(bytes.NewReader(encrypted))
	if err != nil {
		return nil, err
	}
	message, err := openpgp.ReadMessage(block.Body, r.entities, nil, nil)
	if err != nil {
		return nil, err
	}
	return message.UnverifiedBody, nil
}
