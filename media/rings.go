package media

import "sync"

// Recording rings are most of a call's memory. They live outside the collected heap, which
// would keep as much again in reserve for them, and are used again by the calls that follow.
var rings struct {
	sync.Mutex
	free [][]byte
}

// ringsPerSlab is how many rings are asked of the system at a time: a megabyte.
const ringsPerSlab = 32

// takeRing is a ring of any content.
func takeRing() []byte {
	rings.Lock()
	defer rings.Unlock()
	if len(rings.free) == 0 {
		slab := newSlab(ringsPerSlab * 2 * recFrames)
		for at := 0; at < len(slab); at += 2 * recFrames {
			rings.free = append(rings.free, slab[at:at+2*recFrames:at+2*recFrames])
		}
	}
	last := len(rings.free) - 1
	r := rings.free[last]
	rings.free = rings.free[:last]
	return r
}

// giveRing takes a ring back that nobody uses any more.
func giveRing(r []byte) {
	rings.Lock()
	defer rings.Unlock()
	rings.free = append(rings.free, r)
}
