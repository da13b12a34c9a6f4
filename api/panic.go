package api

import (
	"fmt"
	"runtime/debug"
)

// panicked is a handler's panic as an error for the log.
func panicked(p any) error { return fmt.Errorf("panic: %v\n%s", p, debug.Stack()) }
