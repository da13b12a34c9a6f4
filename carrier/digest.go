package carrier

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// realm of every challenge.
const realm = "carrier.invalid"

// nonce is the nonce that the carrier gives for a purpose: it follows from the seed, so that no table is needed.
func (c *Carrier) nonce(purpose string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", c.opt.Seed, purpose))
	return hex.EncodeToString(sum[:12])
}

func (c *Carrier) challenge(header, nonce string, stale bool) string {
	s := fmt.Sprintf(`%s: Digest realm="%s", nonce="%s", algorithm=MD5, qop="auth"`, header, realm, nonce)
	if stale {
		s += ", stale=true"
	}
	return s
}

// credentials are the parameters of an Authorization header.
func credentials(header string) map[string]string {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	if !strings.EqualFold(scheme, "Digest") {
		return nil
	}
	out := map[string]string{}
	for rest = strings.TrimSpace(rest); rest != ""; {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			return out
		}
		name, after = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(after)
		var v string
		if strings.HasPrefix(after, `"`) {
			v, after, _ = strings.Cut(after[1:], `"`)
			_, after, _ = strings.Cut(after, ",")
		} else {
			v, after, _ = strings.Cut(after, ",")
			v = strings.TrimSpace(v)
		}
		out[name] = v
		rest = strings.TrimSpace(after)
	}
	return out
}

// authorized checks digest credentials (RFC 7616 3.4). ok: they are right for the nonce. reason: they
// are wrong for good. Neither: there are none, or for another nonce; broken says what rule they break.
func (c *Carrier) authorized(req *sip.Request, header, call, nonce string) (ok bool, reason string) {
	p := credentials(header)
	if p == nil || p["nonce"] != nonce {
		return false, ""
	}
	if p["uri"] != req.Recipient.String() {
		c.find(call, "digest-uri", "3261 22.4", "the digest is for another URI than the request's")
	}
	if p["qop"] != "" && p["nc"] != "00000001" && call != "" {
		c.find(call, "digest-nc", "7616 3.4", "nc is %q at the first use of a nonce", clip(p["nc"]))
	}
	want := digest(c.opt.Username, realm, c.opt.Password, string(req.Method), p)
	if p["username"] != c.opt.Username || subtle.ConstantTimeCompare([]byte(want), []byte(strings.ToLower(p["response"]))) != 1 {
		return false, "wrong user name or password"
	}
	return true, ""
}

// digest is the response value that the credentials must hold.
func digest(user, realm, password, method string, p map[string]string) string {
	sum := func(s string) string {
		var h hash.Hash = md5.New()
		if strings.EqualFold(p["algorithm"], "SHA-256") {
			h = sha256.New()
		}
		h.Write([]byte(s))
		return hex.EncodeToString(h.Sum(nil))
	}
	ha1 := sum(user + ":" + realm + ":" + password)
	ha2 := sum(method + ":" + p["uri"])
	if p["qop"] == "" {
		return sum(ha1 + ":" + p["nonce"] + ":" + ha2)
	}
	return sum(ha1 + ":" + p["nonce"] + ":" + p["nc"] + ":" + p["cnonce"] + ":" + p["qop"] + ":" + ha2)
}
