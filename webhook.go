package waihu

import "time"

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
	// Secret signs the bodies (standard-webhooks for native); empty: unsigned. Sealed in the ledger, never printed.
	Secret    string
	Remark    string
	CreatedAt time.Time
	UpdatedAt time.Time
}
