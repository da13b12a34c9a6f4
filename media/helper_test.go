package media

import (
	"context"
	"os"
)

// helper is what this test binary does as a process of its own.
func helper(role string) {
	switch role {
	case "record":
		recordForever()
	case "far":
		farHelper()
	default:
		os.Exit(2)
	}
}

// Context is for the helper process, which is killed.
func (fatal) Context() context.Context { return context.Background() }
