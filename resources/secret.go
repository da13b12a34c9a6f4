package resources

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxSecret bounds what file:PATH reads: a prompt may be long, a disk image is a mistake.
const maxSecret = 1 << 20

// secret resolves env:NAME and file:PATH at path and puts the value into *s. Values never stand in problems.
func (d *doc) secret(path string, s *string) {
	switch {
	case strings.HasPrefix(*s, "env:"):
		name := strings.TrimPrefix(*s, "env:")
		value, ok := d.env(name)
		if !ok || value == "" {
			d.add(path, "the environment variable %s is not set or empty", name)
			return
		}
		d.secrets[path], *s = value, value
	case strings.HasPrefix(*s, "file:"):
		d.fromFile(path, s)
	}
}

// fromFile resolves file:PATH; one line end at the end of the file is not part of the text.
func (d *doc) fromFile(path string, s *string) {
	name, ok := strings.CutPrefix(*s, "file:")
	if !ok {
		return
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(d.dir, name)
	}
	info, err := os.Stat(name)
	var text []byte
	if err == nil {
		switch {
		case !info.Mode().IsRegular():
			err = errors.New("not a file")
		case info.Size() > maxSecret:
			err = errors.New("larger than 1 MiB")
		default:
			text, err = os.ReadFile(name)
		}
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err // the name is in the message already
	}
	if err != nil {
		d.add(path, "the file %s cannot be read: %v", name, err)
		return
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if value == "" {
		d.add(path, "the file %s is empty", name)
		return
	}
	d.secrets[path], *s = value, value
}
