package keyue

import (
	"context"
	"strings"
	"time"

	"waihu"
	"waihu/store"
)

const (
	// scopeKey is the scope of an access key with its secret: a token whose text is both, so that only its hash is kept.
	scopeKey = "aiob-key"
	// tokenMinutes is how long an access token holds: the documented 30 days. expiresTime is in minutes.
	tokenMinutes = 30 * 24 * 60
	// tokenPrefix begins the vendor's tokens of the present scheme.
	tokenPrefix = "cc-api-auth-v2/10."
)

// aiobToken changes an access key into an access token. Asked for again on the same day, the token is the same and its
// time begins anew, so that a client that asks before every call leaves one row a day behind.
func (s *server) aiobToken(c *aiobRequest) (any, error) {
	ak, sk := c.body.get("accessKey").need().text(200), c.body.get("secretKey").need().text(200)
	if err := c.done(); err != nil {
		return nil, err
	}
	known := &refusal{aiobUnknown, aiobUnknown, "accessKey 或 secretKey 不正确"}
	a, key, err := s.Store.AccountByToken(c.ctx, store.KeyPair(ak, sk))
	if waihu.ErrorCode(err) == waihu.EUnauthorized || err == nil && key.Scope != scopeKey {
		return nil, known
	}
	if err != nil {
		return nil, err
	}
	now := s.Now()
	day := now.UTC().Format(time.DateOnly)
	token := tokenPrefix + strings.ToUpper(s.Store.Sum([]byte("aiob token\n"+string(a.ID)+"\n"+ak+"\n"+sk+"\n"+day)))
	row := store.Token{Account: a.ID, Name: tokenName(key.ID), Scope: doorAIOB, ExpiresAt: now.Add(tokenMinutes * time.Minute)}
	if err := s.Store.AddToken(c.ctx, row, token); err != nil {
		return nil, err
	}
	if err := s.aiobPrune(c.ctx, a.ID, now); err != nil {
		return nil, err
	}
	if err := c.of(a, key); err != nil {
		return nil, err
	}
	// The page's data also has accessKey and secretKey: a secret is not sent back.
	return aiobSaid{"OK", map[string]any{"tenantId": c.tenant, "accountId": string(a.ID), "accessToken": token, "expiresTime": tokenMinutes, "accessKey": ak}}, nil
}

func tokenName(key string) string { return "AIOB " + key }

// aiobPrune removes the access tokens that have expired.
func (s *server) aiobPrune(ctx context.Context, account waihu.AccountID, now time.Time) error {
	list, err := s.Store.Tokens(ctx, account)
	if err != nil {
		return err
	}
	for _, k := range list {
		if k.Scope == doorAIOB && !k.ExpiresAt.IsZero() && k.ExpiresAt.Before(now) {
			if err := s.Store.RevokeToken(ctx, account, k.ID); err != nil && waihu.ErrorCode(err) != waihu.ENotFound {
				return err
			}
		}
	}
	return nil
}

// aiobAlive says whether a token is one of this family whose access key is still there: who revokes the key ends its tokens.
func (s *server) aiobAlive(ctx context.Context, token *store.Token) (bool, error) {
	if token.Scope != doorAIOB {
		return false, nil
	}
	list, err := s.Store.Tokens(ctx, token.Account)
	for _, k := range list {
		if k.Scope == scopeKey && tokenName(k.ID) == token.Name && (k.ExpiresAt.IsZero() || s.Now().Before(k.ExpiresAt)) {
			return true, nil
		}
	}
	return false, err
}
