package main

import (
	"fmt"
	"sync/atomic"
	"testing"
)

// testRanges gives each server of this test binary RTP ports of its own, below the ephemeral ones.
var testRanges atomic.Int32

const testRangePorts = 400

func testRTP(t *testing.T) string {
	t.Helper()
	low := 10000 + int(testRanges.Add(1)-1)*testRangePorts
	if low+testRangePorts > 32000 {
		t.Fatal("no RTP range is left for another server")
	}
	return fmt.Sprintf("%d-%d", low, low+testRangePorts-1)
}
