package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"time"

	"waihu"
)

// Token is a credential of an account. The secret itself is never stored, only its SHA-256:
// tokens are long random texts, so a slow hash would add nothing but cost.
type Token struct {
	ID        string // begins the hash; names the token in lists and for revoking
	Account   waihu.AccountID
	Name      string
	Scope     string // "": every door; else the one door that takes it, such as "keyue"
	CreatedAt time.Time
	UsedAt    time.Time // to the hour; zero: never
	ExpiresAt time.Time // zero: never
}

// NewSecret is a fresh token text of 256 random bits.
func NewSecret() string {
	b := make([]byte, 32)
	rand.Read(b)
	return "wh_" + base64.RawURLEncoding.EncodeToString(b)
}

func tokenHash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

const tokenIDLen = 16

// AddToken stores the hash of secret as a token of k.Account. The same secret again renames the token;
// a secret that another account has is refused.
func (s *Store) AddToken(ctx context.Context, k Token, secret string) error {
	return s.update(ctx, normal, func(t *tx) error { return t.putToken(k, secret) })
}

func (t *tx) putToken(k Token, secret string) error {
	if secret == "" {
		return waihu.Errorf(waihu.EInvalid, "a token is not empty")
	}
	if _, err := t.account(k.Account); err != nil {
		return err
	}
	hash := tokenHash(secret)
	var owner waihu.AccountID
	if found, err := t.one(into(&owner), `select account from tokens where hash = $1`, hash); err != nil {
		return err
	} else if found && owner != k.Account {
		return conflict(nil, "this token is in use already")
	}
	_, err := t.exec(`insert into tokens (hash, account, name, scope, created_at, expires_at) values ($1, $2, $3, $4, $5, $6)
		on conflict (hash) do update set name = excluded.name, scope = excluded.scope, expires_at = excluded.expires_at`,
		hash, k.Account, k.Name, k.Scope, ms(t.s.now()), ms(k.ExpiresAt))
	return err
}

const tokenColumns = `hash, account, name, scope, created_at, used_at, expires_at`

func scanToken(scan func(dest ...any) error) (k Token, hash string, err error) {
	var created, used, expires int64
	err = scan(&hash, &k.Account, &k.Name, &k.Scope, &created, &used, &expires)
	k.CreatedAt, k.UsedAt, k.ExpiresAt = at(created), at(used), at(expires)
	if len(hash) >= tokenIDLen {
		k.ID = hash[:tokenIDLen]
	}
	return k, hash, err
}

// Tokens are the account's tokens, oldest first, without their secrets.
func (s *Store) Tokens(ctx context.Context, account waihu.AccountID) (list []Token, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			k, _, err := scanToken(scan)
			list = append(list, k)
			return err
		}, `select `+tokenColumns+` from tokens where account = $1 order by created_at, hash`, account)
	})
	return list, err
}

// RevokeToken ends the token of that ID.
func (s *Store) RevokeToken(ctx context.Context, account waihu.AccountID, id string) error {
	return s.update(ctx, normal, func(t *tx) error {
		n, err := t.exec(`delete from tokens where account = $1 and substr(hash, 1, 16) = $2`, account, id)
		if err == nil && n == 0 {
			return notFound("token", id)
		}
		return err
	})
}

// AccountByToken is whom a secret stands for; unknown and expired ones are EUnauthorized. The door
// compares Token.Scope with its own name: "" or equal is good.
//
// Only hashes are looked up and compared, so timing tells nothing about a secret.
func (s *Store) AccountByToken(ctx context.Context, secret string) (a waihu.Account, k Token, err error) {
	want := tokenHash(secret)
	now := s.now()
	err = s.read(ctx, func(t *tx) error {
		known := false
		if err := t.each(func(scan func(...any) error) error {
			var hash string
			k, hash, err = scanToken(scan)
			known = subtle.ConstantTimeCompare([]byte(hash), []byte(want)) == 1
			return err
		}, `select `+tokenColumns+` from tokens where hash = $1`, want); err != nil {
			return err
		}
		if secret == "" || !known {
			return waihu.Errorf(waihu.EUnauthorized, "the token is not known")
		}
		if !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) {
			return waihu.Errorf(waihu.EUnauthorized, "the token has expired")
		}
		a, err = t.account(k.Account)
		return err
	})
	if err != nil {
		return waihu.Account{}, Token{}, err
	}
	if now.Sub(k.UsedAt) >= time.Hour {
		// A convenience for whoever cleans up tokens: it must never stand in the way of a request.
		if err := s.update(ctx, normal, func(t *tx) error {
			_, err := t.exec(`update tokens set used_at = $2 where hash = $1`, want, ms(now))
			return err
		}); err != nil {
			s.log.Warn("the time a token was used was not kept", "token", k.ID, "err", err)
		}
	}
	return a, k, nil
}

// KeyPair is the text under which a key with its secret is kept as one token: neither is a token alone.
func KeyPair(key, secret string) string { return key + "\n" + secret }
