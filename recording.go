package waihu

import (
	"context"
	"io"
	"time"
)

// Recording is the opened sound of a call, a WAV file wherever it lies. Who opened it closes it. It may be sought in, so that
// parts of it can be served without reading the rest.
type Recording struct {
	io.ReadSeekCloser
	Size    int64     // bytes
	ModTime time.Time // of the finished file
	Sum     string    // SHA-256 of the finished file, hexadecimal; "" while it is not known
}

// OpenRecording opens the recording of a call by its Account, ID and Outcome.Recording. A call that has none, or none any more, is ENotFound;
// a store of recordings that does not answer is EUnavailable.
type OpenRecording func(context.Context, *Call) (*Recording, error)
