package store

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"waihu"
)

// DoorKey is a key by which a door and an account's client encrypt fields on the wire. It is kept sealed.
type DoorKey struct {
	Account waihu.AccountID
	Door    string
	Key     string
}

// ParseDoorKey reads a key: 16, 24 or 32 characters as they stand, or as many bytes behind hex: or base64:.
func ParseDoorKey(text string) ([]byte, error) {
	key, err := []byte(text), error(nil)
	if rest, ok := strings.CutPrefix(text, "hex:"); ok {
		key, err = hex.DecodeString(rest)
	} else if rest, ok := strings.CutPrefix(text, "base64:"); ok {
		key, err = base64.StdEncoding.DecodeString(rest)
	}
	if err != nil || len(key) != 16 && len(key) != 24 && len(key) != 32 {
		return nil, errors.New("an AES key was expected: 16, 24 or 32 characters, or hex: or base64: and as many bytes")
	}
	return key, nil
}

func doorKeyPlace(account waihu.AccountID, door string) string {
	return "door key " + door + " " + string(account)
}

// PutDoorKey sets or replaces a key.
func (s *Store) PutDoorKey(ctx context.Context, k DoorKey) error {
	return s.update(ctx, normal, func(t *tx) error { return t.putDoorKey(k) })
}

func (t *tx) putDoorKey(k DoorKey) error {
	if _, err := t.account(k.Account); err != nil {
		return err
	}
	sealed, err := t.s.seal(doorKeyPlace(k.Account, k.Door), k.Key)
	if err != nil {
		return err
	}
	_, err = t.exec(`insert into door_keys (account, door, secret, updated_at) values ($1, $2, $3, $4)
		on conflict (account, door) do update set secret = excluded.secret, updated_at = excluded.updated_at`, k.Account, k.Door, sealed, ms(t.s.now()))
	return err
}

// DoorKey is the account's key, else its main account's; empty when neither has one.
func (s *Store) DoorKey(ctx context.Context, account waihu.AccountID, door string) (key string, err error) {
	err = s.read(ctx, func(t *tx) error {
		var owner waihu.AccountID
		var sealed []byte
		found, err := t.one(into(&owner, &sealed), `select account, secret from door_keys where door = $2 and account in ($1, (select parent from accounts where id = $1))
			order by case account when $1 then 0 else 1 end`, account, door)
		if err == nil && found {
			key, err = s.unseal(doorKeyPlace(owner, door), sealed)
		}
		return err
	})
	return key, err
}
