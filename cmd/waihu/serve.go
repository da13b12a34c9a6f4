package main

import (
	"context"
	"fmt"
	"io"

	"github.com/google/uuid"

	"waihu"
	"waihu/media"
	"waihu/store"
)

func runServe(ctx context.Context, io stdio, args []string) error {
	var cfg config
	fs := newFlags("serve")
	cfg.flags(fs)
	if _, err := cfg.load(io, fs, args, 0, 0); err != nil {
		return err
	}
	log := newLog(io.err, cfg.LogLevel)
	if media.LeadsSession() { // else it would raise somebody's shell with all that runs in it
		defer media.RaiseSession()()
	}
	s, err := newServer(ctx, cfg, io.env, log, io.out)
	if err != nil {
		return err
	}
	if err := firstStart(ctx, s.store, io.out); err != nil {
		s.close()
		return err
	}
	fmt.Fprintf(io.out, "waihu serves http://%s, SIP on %s, RTP on %s, data in %s\n", s.http.Addr(), s.ua.Addrs()[0].Addr, cfg.RTP, cfg.Data)
	return s.run(ctx, io.signals)
}

// firstStart gives a ledger without any account one, with a token that is printed this once.
func firstStart(ctx context.Context, st *store.Store, out io.Writer) error {
	accounts, err := st.Accounts(ctx)
	if err != nil || len(accounts) > 0 {
		return err
	}
	a := waihu.Account{ID: waihu.AccountID(uuid.NewString()), Name: "default"}
	if err := st.UpsertAccount(ctx, a); err != nil {
		return err
	}
	token, err := makeToken(ctx, st, a.ID, "first")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "first start: account %s with token %s (kept hashed: it is not shown again)\n", a.ID, token)
	return nil
}

// makeToken gives an account a new random token; it is kept hashed and cannot be shown again.
func makeToken(ctx context.Context, st *store.Store, account waihu.AccountID, name string) (string, error) {
	token := store.NewSecret()
	return token, st.AddToken(ctx, store.Token{Account: account, Name: name}, token)
}
