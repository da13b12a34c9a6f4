package store

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"waihu"
)

// Link is a text that stands for target until expires and that only this ledger's key can make: the key of an
// address that is handed out without a token. use keeps the links of one purpose from serving another.
func (s *Store) Link(use, target string, expires time.Time) (string, error) {
	sealed, err := s.seal("link "+use, strconv.FormatInt(ms(expires), 10)+" "+target)
	return base64.RawURLEncoding.EncodeToString(sealed), err
}

// OpenLink is the target of a link of that use. Expired, foreign and damaged ones are ENotFound alike.
func (s *Store) OpenLink(use, link string) (string, error) {
	missing := waihu.Errorf(waihu.ENotFound, "the link is not valid or has expired")
	sealed, err := base64.RawURLEncoding.DecodeString(link)
	if err != nil || len(sealed) == 0 {
		return "", missing
	}
	plain, err := s.unseal("link "+use, sealed)
	if err != nil {
		return "", missing
	}
	until, target, _ := strings.Cut(plain, " ")
	at, err := strconv.ParseInt(until, 10, 64)
	if err != nil || ms(s.now()) >= at {
		return "", missing
	}
	return target, nil
}
