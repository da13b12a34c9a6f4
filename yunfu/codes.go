package yunfu

import (
	"strings"

	"waihu"
)

// statusNames are the vendor's number states, da_status codes and rule codes: one table.
var statusNames = [13]string{"等待呼叫", "呼叫成功", "运营商拦截", "拒接", "无应答、无人接听", "空号", "关机", "停机", "占线、用户正忙",
	"呼入限制", "欠费", "黑名单", "用户屏蔽"}

// statusOf shows our dispositions as vendor codes. 0 to 12 carry the same numbers; the rest of ours has no
// code there and is shown as the nearest that a customer would act on in the same way:
//
//	unreachable (13)         4  the callee could not be reached; dialling again may help
//	carrier fault (14)       2  stopped on the way by an operator
//	our fault (15)           4  never the callee's; it comes back by itself
//	unknown (16)             4  our process died during the call
//	never left (17)          0  provably no call: still waiting
//	failed (18)              4  given up after three faults
//	invalid (19)             2  refused before dialling
//	expired (20)             2  its own deadline passed before dialling
func statusOf(d waihu.Disposition) int {
	switch d {
	case waihu.Unreachable, waihu.OurFault, waihu.Unknown, waihu.Failed:
		return 4
	case waihu.CarrierFault, waihu.Invalid, waihu.Expired:
		return 2
	case waihu.NeverLeft:
		return 0
	}
	if d < 0 || int(d) >= len(statusNames) {
		return 4
	}
	return int(d)
}

// dispositionsOf is statusOf backwards: all of ours that show as a code.
func dispositionsOf(code int) []waihu.Disposition {
	var out []waihu.Disposition
	for d := waihu.NoOutcome; d <= waihu.Expired; d++ {
		if statusOf(d) == code {
			out = append(out, d)
		}
	}
	return out
}

// redialOn are the outcomes that a da_status code asks to dial again. The waiting, the answered and the
// blacklisted are never dialled for it, and faults come back by a rule of their own.
func redialOn(code int) []waihu.Disposition {
	switch code {
	case 0, 1, 11:
		return nil
	case 4:
		return []waihu.Disposition{waihu.NoAnswer, waihu.Unreachable}
	}
	return []waihu.Disposition{waihu.Disposition(code)}
}

// statusWords are English da_status words that integrators read back. No official table is known;
// each is read as the code that its words mean.
var statusWords = map[string]int{
	"failed": 2, "line fault": 2, "bus_close": 2,
	"not convenient": 3, "redial later": 3, "forwarded": 3,
	"not answer": 4, "is not reachable": 4, "cannot be connected": 4, "call reminder": 4,
	"not a local number": 5, "number change": 5,
	"power off": 6, "not in service": 7,
	"hold on": 8, "busy now": 8, "busy": 8, "line is busy": 8,
	"barring of incoming": 9,
}

// status reads a code 0 to 12, or one of the words.
func (n node) status() int {
	if text, ok := n.v.(string); ok {
		if code, known := statusWords[strings.ToLower(strings.TrimSpace(text))]; known {
			return code
		}
	}
	if n.blank() {
		n.fail("应为 0 到 12 的号码状态码")
		return 0
	}
	return n.number(0, len(statusNames)-1)
}

// intentionNames are the vendor's names of the levels 1 to 5 (A to E).
var intentionNames = [...]string{"", "A级(有明确意向)", "B级(可能有意向)", "C级(明确拒绝)", "D级(用户在忙)", "E级(其他)", "F级"}

// levelOf is a grade as a level: A 1 … F 6, none 0.
func levelOf(grade string) int {
	if len(grade) == 1 && grade[0] >= 'A' && grade[0] <= 'F' {
		return int(grade[0]-'A') + 1
	}
	return 0
}

// grade reads a level as 1 to 6 or A to F.
func (n node) grade() string {
	t := strings.ToUpper(n.text())
	if len(t) == 1 {
		if t[0] >= 'A' && t[0] <= 'F' {
			return t
		}
		if t[0] >= '1' && t[0] <= '6' {
			return string(rune('A' + t[0] - '1'))
		}
	}
	n.fail("应为意向等级 1 到 6(1=A … 6=F)")
	return ""
}

// The task's state, computed from enable (started) and call_status (calls in progress).
const (
	statePaused  = 1
	stateRunning = 2
	stateWaiting = 3
)

func taskState(enable, calling bool) (int, string) {
	switch {
	case enable && calling:
		return stateRunning, "执行中"
	case enable:
		return stateWaiting, "等待执行"
	}
	return statePaused, "暂停中"
}
