package sip

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
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
	cnonce string // of the session algorithms, one for each challenge
	fresh  bool   // the nonce came in answer to the present request
	stale  int    // nonces replaced within the present request
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
		s.chal, s.count, s.cnonce, s.fresh = best, 0, newToken(), true
		return nil
	}
	if len(c.sets) >= 4 {
		return errBadPassword
	}
	c.sets = append(c.sets, &credential{header: answer, chal: best, cnonce: newToken(), fresh: true})
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
	if chal, err = digest.ParseChallenge(plainChallenge(value)); err != nil {
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

// plainChallenge writes a challenge as the parser wants it: names in lower case, values quoted, single blanks. Far ends
// write Nonce, leave quotes out and end in a comma.
func plainChallenge(s string) string {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(s, "\t", " ")), " ")
	var params []string
	for _, p := range splitQuoted(rest, ',') {
		k, v, ok := strings.Cut(strings.TrimSpace(p), "=")
		if v = strings.TrimSpace(v); !ok {
			if k != "" {
				params = append(params, k) // the parser says what is wrong with it
			}
			continue
		}
		if !strings.HasPrefix(v, `"`) {
			v = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"`
		}
		params = append(params, strings.ToLower(strings.TrimSpace(k))+"="+v)
	}
	return scheme + " " + strings.Join(params, ", ")
}

// base is the algorithm without the session's suffix.
func base(algorithm string) (string, bool) {
	a := strings.ToUpper(algorithm)
	b, session := strings.CutSuffix(a, "-SESS")
	return b, session
}

func strength(c *digest.Challenge) int {
	algorithm, _ := base(c.Algorithm)
	switch algorithm {
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
		chal, opt := *s.chal, digest.Options{
			Method: string(req.Method), URI: req.Recipient.String(), Count: s.count, Username: c.user, Password: c.password,
		}
		algorithm, session := base(chal.Algorithm)
		if session { // RFC 7616 3.4.2: A1 is of the first answer to the challenge, the nonces included
			chal.Algorithm, opt.Cnonce = algorithm, s.cnonce
			opt.A1 = hashHex(algorithm, hashHex(algorithm, c.user+":"+chal.Realm+":"+c.password)+":"+chal.Nonce+":"+s.cnonce)
		}
		cred, err := digest.Digest(&chal, opt)
		if err != nil {
			return fmt.Errorf("answer the challenge of realm %q: %w", s.chal.Realm, err)
		}
		cred.Algorithm = s.chal.Algorithm
		req.AppendHeader(gosip.NewHeader(s.header, cred.String()))
	}
	return nil
}

func hashHex(algorithm, s string) string {
	h := md5.New()
	switch algorithm {
	case "SHA-256":
		h = sha256.New()
	case "SHA-512-256":
		h = sha512.New512_256()
	}
	h.Write([]byte(s))
	return hex.EncodeToString(h.Sum(nil))
}
