//go:build !linux

package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

var errBench = fmt.Errorf("the media measurement needs Linux: %w", errors.ErrUnsupported)

// BenchFarEnd needs the kernel's receive time stamps.
func BenchFarEnd(context.Context, netip.Addr, int, io.Reader, io.Writer) error { return errBench }

// BenchPin needs Linux.
func BenchPin(int) error { return errBench }

func cpuTime() time.Duration { return 0 }

func residentBytes() int64 { return 0 }
