package keyue

import "waihu"

// endReasons show our dispositions as the family's endTypeReason, whose documented values are success, notexist, stopped,
// poweroff, cantbeconnected, linebusy, ruleslimit, beyonddeadline, blacklist and else. What has no word there is shown as
// the nearest that a customer would act on in the same way.
var endReasons = map[waihu.Disposition]string{
	waihu.Answered:     "success",
	waihu.Intercepted:  "cantbeconnected", // by an operator on the way
	waihu.Rejected:     "linebusy",        // 用户忙: the callee does not want to talk now
	waihu.NoAnswer:     "cantbeconnected",
	waihu.Vacant:       "notexist",
	waihu.PoweredOff:   "poweroff",
	waihu.Suspended:    "stopped",
	waihu.Busy:         "linebusy",
	waihu.Barred:       "cantbeconnected",
	waihu.Arrears:      "stopped", // service is stopped for unpaid bills
	waihu.Blacklisted:  "blacklist",
	waihu.Blocked:      "cantbeconnected",
	waihu.Unreachable:  "cantbeconnected",
	waihu.CarrierFault: "else",
	waihu.OurFault:     "else",
	waihu.Unknown:      "else",
	waihu.NeverLeft:    "else",
	waihu.Failed:       "else",
	waihu.Invalid:      "ruleslimit", // refused before dialling
	waihu.Expired:      "beyonddeadline",
}

// The values of endType.
const (
	endNot       = 0
	endConnected = 1
	endWaiting   = 2
)

func endTypeOf(d waihu.Disposition) int {
	switch d {
	case waihu.Answered:
		return endConnected
	case waihu.NoOutcome:
		return endWaiting
	}
	return endNot
}

// The values of callType.
const (
	callFirst    = 0
	callRetry    = 1
	callRealtime = 3
)

// The states of a task.
const (
	taskWaiting  = 1 // 待启动
	taskRunning  = 2 // 执行中
	taskPaused   = 3 // 已暂停
	taskFinished = 4 // 已完成
)

var taskStateNames = map[int]string{taskWaiting: "待启动", taskRunning: "执行中", taskPaused: "已暂停", taskFinished: "已完成"}

// afterRun is the state that the end of a task's last run leaves, with the reason that the change is told with.
var afterRun = map[waihu.RunReason]struct {
	state  int
	reason string
}{
	waihu.RunStopped:  {taskPaused, "手动暂停任务"},
	waihu.RunTimeout:  {taskFinished, "任务已到期"},
	waihu.RunDone:     {taskFinished, "任务已呼叫完成"},
	waihu.RunAbnormal: {taskPaused, "无可用主叫号码"}, // the only reason for which a run of ours closes as abnormal: no line is left
}

// The other reasons of the documented list. 系统进入禁呼时段 and 系统进入呼叫时段 are never told: between two windows a task of
// ours goes on running; nor are 账号欠费 and 系统异常已暂停, of which there is no case here.
const (
	reasonStarted  = "手动启动任务"
	reasonFinished = "手动终止任务"
)

// aiobState is where a task stands, over all its runs; last is its last run, nil before the first.
func aiobState(t *waihu.Task, last *waihu.Run, kept *aiobKept) int {
	switch {
	case t.Started:
		return taskRunning
	case kept.Finished && (last == nil || last.N <= kept.FinishedRun):
		return taskFinished
	case last == nil:
		return taskWaiting
	}
	return afterRun[last.Reason].state
}

// The states of a group of numbers.
const (
	groupWaiting   = 1 // 未执行
	groupOpen      = 2 // 未完成
	groupCompleted = 3 // 已完成: somebody answered
	groupExhausted = 4 // 已打完: nobody did, and nobody is tried again
)

func groupState(n *waihu.Number) int {
	switch {
	case n.State == waihu.NumberFresh && n.Attempts == 0:
		return groupWaiting
	case n.State != waihu.NumberDone:
		return groupOpen
	case n.Outcome == waihu.Answered:
		return groupCompleted
	}
	return groupExhausted
}

// Member ids are numbers: the task's serial above, the number's place in it below. 53 bits are exact in every JSON reader.
const (
	memberBits = 24
	maxMember  = 1<<53 - 1
	maxGroups  = 15_000_000 // of a task: places stay under 24 bits although removed groups and rows refused late use some
)

func memberID(serial, seq int64) int64 { return serial<<memberBits | seq }

func memberParts(id int64) (serial, seq int64) { return id >> memberBits, id & (1<<memberBits - 1) }
