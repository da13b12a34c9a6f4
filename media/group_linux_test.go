package media

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// TestRaiseSession runs in a session of its own, which nobody else raises or lowers.
func TestRaiseSession(t *testing.T) {
	const inside = "WAIHU_TEST_SESSION"
	if os.Getenv(inside) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	before, ok := groupNice()
	if !ok {
		t.Log("this kernel does not group tasks by session")
	}
	allowed := ok && setGroupNice(-1)
	if allowed && !setGroupNice(before) {
		t.Log("without CAP_SYS_ADMIN the kernel takes only one value each tenth of a second")
		return
	}
	want := before
	if allowed {
		want = groupNiceness
	}
	check := func(when string, want int) {
		t.Helper()
		if n, _ := groupNice(); n != want {
			t.Errorf("%s: niceness of the session %d, want %d", when, n, want)
		}
	}
	if !LeadsSession() {
		t.Error("it does not lead the session that it began")
	}
	lower := RaiseSession()
	check("raised", want)
	lower()
	check("lowered", before)
	if !allowed {
		return
	}
	setGroupNice(-18)
	RaiseSession()()
	check("the operator's own", -18)
}
