package waihu

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"
	"time"
)

// Endpoint is an address of a customer that is told what happens: events of its account (a main account's also of its
// sub-accounts) in the shape of a door, in order, at least once.
type Endpoint struct {
	ID      int64
	Account AccountID
	Door    string // whose shape the bodies have: native, yunfu, voicefox, keyue
	URL     string
	Task    TaskID      // only this task's events; empty: all
	Kinds   []EventKind // only these kinds; empty: all that the door's shape knows
	// Authorization is sent as the header of that name; empty: none. Sealed in the ledger, never printed.
	Authorization string
	// Secret signs the bodies as standard-webhooks does: whsec_ and base64 of 24 to 64 bytes; empty: unsigned.
	// Sealed in the ledger, never printed.
	Secret    string
	Remark    string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// DoorNative is the door of our own API and of our own shape of callbacks.
const DoorNative = "native"

// EventKinds are all kinds of events that are stored, in the order in which a task meets them.
var EventKinds = []EventKind{EventTaskStarted, EventNumbersAdded, EventCallEnded, EventCallReviewed, EventNumberDone, EventNumbersRemoved, EventTaskStopped, EventTaskFinished,
	EventRunEnded, EventRunReviewed, EventLineDown, EventLineUp, EventBatchDone}

// Payload is one POST to an endpoint.
type Payload struct {
	Body        []byte // nil: there is nothing to send
	URL         string // where it goes; empty: the endpoint's address. Of the same host as that: they fail and are blocked together
	ContentType string // empty: application/json
	Header      http.Header
	// Accept judges the answer (body: at most its first 64 KiB); an error means the delivery failed, and its text, which must not
	// hold what the body says, is kept as the reason. nil: any 2xx is good.
	Accept func(status int, body []byte) error
}

// Shape is how a door tells of events: it makes one POST of the first n ≥ 1 of events (at least one, in order, each
// of the endpoint's task and kinds) and returns n. A nil Body means that there is nothing to tell of these n. The events
// are of one account, which may be a sub-account of the endpoint's. It must give the same for the same events, because what
// failed is shaped again; an error means try again later.
type Shape func(ctx context.Context, e Endpoint, events []Event) (Payload, int, error)

// secretPrefix begins a standard-webhooks secret as text.
const secretPrefix = "whsec_"

// WebhookKey is the key of an Endpoint's Secret.
func WebhookKey(secret string) ([]byte, error) {
	text, ok := strings.CutPrefix(secret, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) < 24 || len(key) > 64 {
		return nil, FieldErrorf("secret", "whsec_ followed by base64 of 24 to 64 random bytes was expected")
	}
	return key, nil
}

// WebhookSecret is the text of a key of 24 to 64 bytes.
func WebhookSecret(key []byte) string { return secretPrefix + base64.StdEncoding.EncodeToString(key) }
