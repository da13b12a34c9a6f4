package sip

import (
	"errors"
	"fmt"
	"strings"

	gosip "github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// credentials answer the digest challenges of one dialog or registration (RFC 3261
// 22, RFC 7616, RFC 8760). Once challenged, later requests carry an answer at once.
type credentials struct {
	user, password string
	sets           []*credential
}

// credential is the answer to one challenger: a proxy and the server behind it may both ask.
type credential struct {
	header string // Authorization or Proxy-Authorization
	chal   *digest.Challenge
	count  int
	fresh  bool // the nonce came in answer to the present request
	stale  int  // nonces replaced within the present request
}

var (
	errNoPassword  = errors.New("the far end asks for a password and the trunk has none")
	errBadPassword = errors.New("the far end refuses the trunk's user name or password")
)

// maxStale is how often a challenger may replace its nonce within one request.
const maxStale = 1

// challenged takes a 401 or 407. An error means that asking again is of no use.
func (c *credentials) challenged(res *gosip.Response) error {
	ask, answer := "www-authenticate", "Authorization"
	if res.StatusCode == 407 {
		ask, answer = "proxy-authenticate", "Proxy-Authorization"
	}
	if c.password == "" {
		return errNoPassword
	}
	var best *digest.Challenge
	var last error
	for _, h := range res.GetHeaders(ask) {
		chal, err := readChallenge(h.Value())
		if err != nil {
			last = err
			continue
		}
		if best == nil || strength(chal) > strength(best) {
			best = chal
		}
	}
	if best == nil {
		if last == nil {
			last = fmt.Errorf("no %s header", ask)
		}
		return fmt.Errorf("the challenge of the %d cannot be answered: %w", res.StatusCode, last)
	}
	for _, s := range c.sets {
		if s.header != answer || s.chal.Realm != best.Realm {
			continue
		}
		if s.fresh {
			if !best.Stale || s.stale >= maxStale {
				return errBadPassword
			}
			s.stale++
		}
		s.chal, s.count, s.fresh = best, 0, true
		return nil
	}
	if len(c.sets) >= 4 {
		return errBadPassword
	}
	c.sets = append(c.sets, &credential{header: answer, chal: best, fresh: true})
	return nil
}

// begin starts a new request: a challenger may want a new nonce for it, stale or not.
func (c *credentials) begin() {
	for _, s := range c.sets {
		s.fresh, s.stale = false, 0
	}
}

// readChallenge reads a challenge that we can answer.
func readChallenge(value string) (chal *digest.Challenge, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("unreadable challenge")
		}
	}()
	if chal, err = digest.ParseChallenge(strings.TrimSpace(value)); err != nil {
		return nil, err
	}
	for i, q := range chal.QOP {
		chal.QOP[i] = strings.ToLower(strings.TrimSpace(q))
	}
	switch {
	case strength(chal) == 0:
		return nil, fmt.Errorf("algorithm %q", chal.Algorithm)
	case len(chal.QOP) > 0 && !chal.SupportsQOP("auth"):
		return nil, fmt.Errorf("qop %q: only auth is answered", strings.Join(chal.QOP, ","))
	case chal.Realm == "" || chal.Nonce == "":
		return nil, errors.New("no realm or nonce")
	}
	return chal, nil
}

func strength(c *digest.Challenge) int {
	switch strings.ToUpper(c.Algorithm) {
	case "SHA-512-256":
		return 3
	case "SHA-256":
		return 2
	case "", "MD5":
		return 1
	}
	return 0
}

// sign adds an answer to every known challenge. An ACK repeats those of its INVITE instead (RFC 3261 22.1).
func (c *credentials) sign(req *gosip.Request) error {
	for _, s := range c.sets {
		s.count++
		cred, err := digest.Digest(s.chal, digest.Options{
			Method: string(req.Method), URI: req.Recipient.String(), Count: s.count, Username: c.user, Password: c.password,
		})
		if err != nil {
			return fmt.Errorf("answer the challenge of realm %q: %w", s.chal.Realm, err)
		}
		req.AppendHeader(gosip.NewHeader(s.header, cred.String()))
	}
	return nil
}
