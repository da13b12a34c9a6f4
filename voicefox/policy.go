package voicefox

import (
	"math"
	"net/http"
	"time"

	"waihu"
)

// What the vendor's pages leave open is decided here and nowhere else: progress, collectionRate, the unit of the retry
// interval, the status transitions (status.go), the bot's websocket, and some smaller points.

// progress is the share of a task's numbers that have a final outcome, 0 to 100. Dial attempts do not count: the vendor says
// that called_num includes retries, so a ratio on it could pass 100. 100 is reached with the last number only.
func progress(total, left int) int {
	if total <= 0 {
		return 0
	}
	return (total - left) * 100 / total
}

// collectionRate is the share of answered calls in which at least one of the assistant's questions was answered, 0 to 100,
// rounded to the nearest. (The other reading, answered questions by asked ones, cannot be excluded.)
func collectionRate(answered, hit int) int {
	if answered <= 0 {
		return 0
	}
	return min(100, int(math.Round(float64(hit)*100/float64(answered))))
}

// retryInterval and retryWait translate option.retryInterval, whose unit is Options.RetryUnit: a minute, as a third party
// describes it.
func (s *server) retryInterval(d time.Duration) int { return int(d / s.RetryUnit) }
func (s *server) retryWait(n int) time.Duration     { return time.Duration(n) * s.RetryUnit }

// retryOn are the outcomes after which option.retryCount dials again: the callee was not reached and may be reached later.
var retryOn = []waihu.Disposition{waihu.Intercepted, waihu.Rejected, waihu.NoAnswer, waihu.PoweredOff, waihu.Suspended, waihu.Busy, waihu.Barred, waihu.Unreachable}

// maxRetry and maxRetryInterval bound what a task may ask for: what is beyond is a mistake rather than a wish.
const (
	maxRetry         = 10
	maxRetryInterval = 7 * 24 * time.Hour
)

// brainOf says who leads the conversation when an assistant names several: a dialogue flow of ours before the customer's
// websocket bot, that before the prompt.
func brainOf(flow bool, websocketURL string) waihu.Brain {
	switch {
	case flow:
		return waihu.BrainFlow
	case websocketURL != "":
		return waihu.BrainBot
	}
	return waihu.BrainLLM
}

// botProtocol is how the platform talks to a websocketUrl: it dials out, presents the token and exchanges texts, keeping
// recognition and synthesis on its own side. The vendor's frames are not published; ours are described with the agents.
const botProtocol = "relay"

// noColumn is the index in numberFileMeta of a column that the file does not have. The page requires all three keys.
const noColumn = -1

// foreign is the answer to an id that the token's workspace does not have: the vendor documents 403 for what belongs to
// another workspace; what exists nowhere is 404. Integer ids are counted up over all workspaces, so that one exists is no secret.
func (c *request) foreign(err error, what string, owner func() (waihu.AccountID, error)) error {
	if waihu.ErrorCode(err) != waihu.ENotFound {
		return err
	}
	switch account, err := owner(); {
	case waihu.ErrorCode(err) == waihu.ENotFound, err == nil && account == c.account.ID: // deleted meanwhile
		return refused(http.StatusNotFound, "no such %s", what)
	case err != nil:
		return err
	}
	return refused(http.StatusForbidden, "the %s belongs to another workspace: check the workspace of the token", what)
}

// tellsEnd says whether task.end is sent when a run ends for that reason. The page does not say whether a task that was stopped
// is finished: its numbers will not be dialled any more unless somebody starts it again, and pending_num tells what is left.
func tellsEnd(waihu.RunReason) bool { return true }

// hangupReason is the word for an outcome, from the six that a third party has seen.
func hangupReason(d waihu.Disposition) string {
	switch d {
	case waihu.NoOutcome, waihu.NeverLeft:
		return ""
	case waihu.Answered:
		return "answered"
	case waihu.NoAnswer, waihu.Unreachable, waihu.PoweredOff:
		return "no_answer"
	case waihu.Busy, waihu.Rejected:
		return "busy"
	case waihu.Unknown, waihu.Expired:
		return "timeout"
	case waihu.Blacklisted, waihu.Invalid:
		return "cancel"
	}
	return "failed"
}

// hangupSide is who ended the call: our own side is the caller's.
func hangupSide(p waihu.Party) string {
	switch p {
	case waihu.ByCallee:
		return "callee"
	case waihu.ByAgent, waihu.BySystem:
		return "caller"
	}
	return ""
}
