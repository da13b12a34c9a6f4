package resources

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"waihu"
)

// doors are those whose shape a callback may have.
var doors = []string{waihu.DoorNative, "yunfu", "voicefox", "keyue"}

// buildWebhooks reads the endpoints of the file and of its accounts.
func (p *plan) buildWebhooks(f *fileDoc) {
	for i := range f.Accounts {
		a, path := &f.Accounts[i], index("accounts", i)
		p.accountWebhooks(path, a)
		for j := range a.SubAccounts {
			p.accountWebhooks(index(join(path, "subaccounts"), j), &a.SubAccounts[j])
		}
	}
	for i := range f.Webhooks {
		p.buildWebhook(index("webhooks", i), &f.Webhooks[i])
	}
}

func (p *plan) accountWebhooks(path string, a *accountDoc) {
	for i := range a.Webhooks {
		h, at := &a.Webhooks[i], index(join(path, "webhooks"), i)
		if h.Account != "" && h.Account != a.ID {
			p.add(join(at, "account"), "the webhook stands under account %s: no other was expected", a.ID)
		}
		h.Account = a.ID
		p.buildWebhook(at, h)
	}
}

func (p *plan) buildWebhook(path string, h *webhookDoc) {
	p.named("webhook", path, strconv.FormatInt(h.ID, 10), "-")
	account := p.account(path, h.Account)
	p.secret(join(path, "authorization"), &h.Authorization)
	p.secret(join(path, "secret"), &h.Secret)
	if h.Door == "" {
		h.Door = waihu.DoorNative
	}
	if !slices.Contains(doors, h.Door) {
		p.add(join(path, "door"), "%q is not a door: %s was expected", h.Door, strings.Join(doors, ", "))
	}
	if u, err := url.Parse(h.URL); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		p.add(path, "a url beginning with http:// or https:// was expected")
	}
	if h.Secret != "" {
		if _, err := waihu.WebhookKey(h.Secret); err != nil {
			p.add(join(path, "secret"), "whsec_ followed by base64 of 24 to 64 random bytes was expected")
		}
	}
	e := waihu.Endpoint{ID: h.ID, Account: account, Door: h.Door, URL: h.URL, Task: waihu.TaskID(h.Task), Authorization: h.Authorization, Secret: h.Secret, Remark: h.Remark}
	for _, k := range h.Kinds {
		e.Kinds = append(e.Kinds, waihu.EventKind(k))
	}
	p.put("webhooks", "webhook", strconv.FormatInt(h.ID, 10), path, account, e)
}
