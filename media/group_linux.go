package media

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Where the kernel groups tasks by session (CONFIG_SCHED_AUTOGROUP, sched(7)), a thread's niceness counts against
// threads of its own session only; against everything else on the machine each session has one common
// weight. So a busy neighbour holds a packet clock up however nice it is: with both cores busy a
// clock of niceness -10 alone was 10 to 37 ms late at p99, with its session at -15 1.7 to 9 ms.
const (
	autogroup     = "/proc/self/autogroup"
	groupNiceness = -15
)

// LeadsSession says whether this process began the session that it is in, as a service or a container does
// and a program in somebody's shell does not.
func LeadsSession() bool {
	sid, err := unix.Getsid(0)
	return err == nil && sid == os.Getpid()
}

// RaiseSession asks for more weight for this process's session until lower is called. It takes CAP_SYS_NICE and is a
// wish; what an operator has set higher stays.
func RaiseSession() (lower func()) {
	before, ok := groupNice()
	if !ok || before <= groupNiceness || !setGroupNice(groupNiceness) {
		return func() {}
	}
	return func() { setGroupNice(before) }
}

// groupNice reads "/autogroup-25 nice 0".
func groupNice() (int, bool) {
	b, err := os.ReadFile(autogroup)
	if err != nil {
		return 0, false
	}
	_, nice, _ := strings.Cut(strings.TrimSpace(string(b)), " nice ")
	n, err := strconv.Atoi(nice)
	return n, err == nil
}

func setGroupNice(n int) bool {
	f, err := os.OpenFile(autogroup, os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	_, err = f.WriteString(strconv.Itoa(n))
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err == nil
}
