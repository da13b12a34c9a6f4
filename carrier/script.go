package carrier

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"waihu"
)

// Script is what a number's callee does and what it demands of the caller's side.
type Script struct {
	Suffix       string // the last two digits, or 01 when those have no script
	Name         string
	Dispositions []waihu.Disposition // how the attempt may end
	Answered     bool                // the call is answered by somebody or something
	Reply        string              // what the callee answers to the agent's question; digits when it presses keys
	Unmatched    bool                // the number's own suffix has no script
}

// Allows says whether the attempt may end so.
func (s Script) Allows(d waihu.Disposition) bool {
	for _, ok := range s.Dispositions {
		if ok == d {
			return true
		}
	}
	return false
}

// behaviour is one row of the table.
type behaviour struct {
	name  string
	ends  []waihu.Disposition
	run   func(*call) error
	talks bool // replies to the agent's question
}

var answered = []waihu.Disposition{waihu.Answered}

// behaviours is the table of callees by suffix.
var behaviours map[int]behaviour

// suffixOf is the number's last two digits, 1 when it has none.
func suffixOf(phone waihu.PhoneNumber) int {
	n := len(phone)
	if n < 2 || phone[n-1]-'0' > 9 || phone[n-2]-'0' > 9 {
		return 1
	}
	return int(phone[n-2]-'0')*10 + int(phone[n-1]-'0')
}

// replies by the third digit from the end: six of ten reach the first branch of the
// usual question (is it whole or broken), three the second, one asks to be left alone.
var replies = [10]string{"完好", "坏了", "完好", "1", "坏了", "完好", "2", "完好", "别打了", "完好"}

func replyOf(phone waihu.PhoneNumber) string {
	if n := len(phone); n >= 3 && phone[n-3]-'0' <= 9 {
		return replies[phone[n-3]-'0']
	}
	return replies[0]
}

// ScriptFor is the script of a number. Suffix 90 draws from a mixture, so it allows
// whatever its parts allow; Carrier.Script knows which part a number gets.
func ScriptFor(phone waihu.PhoneNumber) Script { return scriptOf(suffixOf(phone), phone) }

// Script is the script that this carrier plays for a number.
func (c *Carrier) Script(phone waihu.PhoneNumber) Script {
	suffix := suffixOf(phone)
	if suffix == mixed {
		suffix = c.mixture.draw(c.dice(phone)).suffix
	}
	return scriptOf(suffix, phone)
}

func scriptOf(suffix int, phone waihu.PhoneNumber) Script {
	s := Script{Suffix: fmt.Sprintf("%02d", suffix)}
	b, ok := behaviours[suffix]
	if !ok {
		s.Suffix, s.Unmatched = "01", true
		b = behaviours[1]
	}
	s.Name, s.Dispositions = b.name, b.ends
	s.Answered = s.Allows(waihu.Answered)
	if b.talks {
		s.Reply = replyOf(phone)
	}
	return s
}

// dice are the number's own: whatever is left to chance in its calls follows from them.
func (c *Carrier) dice(phone waihu.PhoneNumber) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(phone))
	return rand.New(rand.NewPCG(c.opt.Seed, h.Sum64()))
}
