package wrapup

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"waihu"
)

// Folder keeps recordings as files below a folder, under the names that calls gave them.
type Folder string

var errNoRecording = waihu.Errorf(waihu.ENotFound, "the call has no recording")

// Open is a waihu.OpenRecording.
func (f Folder) Open(_ context.Context, k *waihu.Call) (*waihu.Recording, error) {
	return f.open(k.Outcome.Recording)
}

// open opens the folder as a root: no name in the ledger leads out of it.
func (f Folder) open(name string) (*waihu.Recording, error) {
	if name == "" || f == "" {
		return nil, errNoRecording
	}
	root, err := os.OpenRoot(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoRecording
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoRecording
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNoRecording
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return &waihu.Recording{ReadSeekCloser: file, Size: info.Size(), ModTime: info.ModTime()}, nil
}
