package live

import (
	"testing"

	"waihu"
)

func TestSlowViewerIsDroppedAndOthersGoOn(t *testing.T) {
	t.Parallel()
	var h Hub
	slow, leaveSlow := h.Watch("")
	quick, leaveQuick := h.Watch("a")
	defer leaveQuick()
	for i := range ViewerBuffer + 1 {
		h.Publish(waihu.Event{Account: "a", N: int64(i)})
		if e := <-quick; e.N != int64(i) {
			t.Fatalf("quick viewer got event %d, want %d", e.N, i)
		}
	}
	n := 0
	for range slow { // closed by the drop, so this ends
		n++
	}
	if n != ViewerBuffer {
		t.Errorf("slow viewer got %d events before it was dropped, want %d", n, ViewerBuffer)
	}
	if h.Dropped() != 1 {
		t.Errorf("dropped = %d, want 1", h.Dropped())
	}
	leaveSlow() // after the drop: nothing to do, must not panic
}

func TestViewerSeesItsAccountOnly(t *testing.T) {
	t.Parallel()
	var h Hub
	ch, leave := h.Watch("a")
	h.Publish(waihu.Event{Account: "b", N: 1})
	h.Publish(waihu.Event{Account: "a", N: 2})
	leave()
	leave()
	var got []int64
	for e := range ch {
		got = append(got, e.N)
	}
	if len(got) != 1 || got[0] != 2 {
		t.Errorf("viewer of a got events %v, want [2]", got)
	}
}
