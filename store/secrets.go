package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// KeySize is the length of Options.Key.
const KeySize = 32

// seal encrypts a secret for a row: AES-256-GCM, bound to where it stands so that it cannot be
// moved to another row. The form is 1, nonce, ciphertext.
func (s *Store) seal(where, secret string) ([]byte, error) {
	aead, err := s.aead()
	if err != nil {
		return nil, err
	}
	out := make([]byte, 1+aead.NonceSize(), 1+aead.NonceSize()+len(secret)+aead.Overhead())
	out[0] = 1
	rand.Read(out[1:]) // never fails: crypto/rand ends the process instead
	return aead.Seal(out, out[1:], []byte(secret), []byte(where)), nil
}

// unseal is the opposite of seal; nil is the empty secret.
func (s *Store) unseal(where string, sealed []byte) (string, error) {
	if len(sealed) == 0 {
		return "", nil
	}
	aead, err := s.aead()
	if err != nil {
		return "", err
	}
	n := 1 + aead.NonceSize()
	if len(sealed) < n || sealed[0] != 1 {
		return "", fmt.Errorf("the stored secret of %s is damaged", where)
	}
	plain, err := aead.Open(nil, sealed[1:n], sealed[n:], []byte(where))
	if err != nil {
		return "", fmt.Errorf("the secret of %s cannot be opened: the ledger was written with another key (WAIHU_KEY, --key-file or secret.key in the data folder)", where)
	}
	return string(plain), nil
}

func (s *Store) aead() (cipher.AEAD, error) {
	if len(s.o.Key) == 0 {
		return nil, errors.New("a secret is to be stored or read, but the ledger was opened without a key (WAIHU_KEY, --key-file or secret.key in the data folder)")
	}
	if len(s.o.Key) != KeySize {
		return nil, fmt.Errorf("the key has %d bytes: %d were expected", len(s.o.Key), KeySize)
	}
	block, err := aes.NewCipher(s.o.Key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Sum is a digest of a document that may hold secrets: keyed, so that a stolen ledger does not
// allow to guess them.
func (s *Store) Sum(doc []byte) string {
	mac := hmac.New(sha256.New, append([]byte("digest:"), s.o.Key...))
	mac.Write(doc)
	return hex.EncodeToString(mac.Sum(nil))
}

// ParseKey reads a key as text: 64 hexadecimal digits, or base64 of 32 bytes.
func ParseKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if key, err := hex.DecodeString(text); err == nil && len(key) == KeySize {
		return key, nil
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if key, err := enc.DecodeString(text); err == nil && len(key) == KeySize {
			return key, nil
		}
	}
	return nil, fmt.Errorf("a key is %d hexadecimal digits or base64 of %d bytes, for instance from: openssl rand -hex %d", 2*KeySize, KeySize, KeySize)
}

// LoadOrMakeKey reads the key in a file, or makes the file (mode 0600) with a new key. Of two
// processes that make it at once, both get the key of the one that was first. A file that others may
// read is refused.
func LoadOrMakeKey(file string) ([]byte, error) {
	key, err := loadKey(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	fresh := make([]byte, KeySize)
	rand.Read(fresh)
	// A temporary name and a hard link: the file appears whole or not at all, and never replaces another.
	tmp, err := os.CreateTemp(filepath.Dir(file), ".secret-*") // CreateTemp makes it 0600
	if err != nil {
		return nil, fmt.Errorf("make the key file: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(hex.EncodeToString(fresh) + "\n")
	if err == nil {
		err = tmp.Sync()
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Link(tmp.Name(), file)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the key file: %w", err)
	}
	return loadKey(file)
}

func loadKey(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("read the key file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the key file %s may be read by others (mode %04o): chmod 600 %s", file, info.Mode().Perm(), file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the key file: %w", err)
	}
	key, err := ParseKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("read the key file %s: %w", file, err)
	}
	return key, nil
}
