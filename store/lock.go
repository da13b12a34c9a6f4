package store

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFolder makes the data folder this process's own, for as long as the file stays open.
// The kernel releases the lock when the process dies, however it dies.
func lockFolder(dir, role string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		who, _ := io.ReadAll(io.LimitReader(f, 200)) // only to name the holder
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, fmt.Errorf("the data folder %s is in use by %s: stop that process or choose another folder", dir, strings.TrimSpace(string(who)))
		}
		return nil, fmt.Errorf("lock the data folder %s: %w", dir, err)
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(fmt.Sprintf("%s (process %d)\n", role, os.Getpid())), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("write %s: %w", f.Name(), err)
	}
	return f, nil
}

// nodeName is the name that a data folder gives to the lives of processes on it, kept in a file. The folder's lock
// proves that every former life is over. A copy of the folder, in another place or on another machine, has another name.
func nodeName(dir string) (string, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "waihu"
	}
	full, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("name the data folder: %w", err)
	}
	place, path := fmt.Sprintf("%q %q", host, full), filepath.Join(dir, "node")
	if raw, err := os.ReadFile(path); err == nil {
		if name, of, ok := strings.Cut(strings.TrimSpace(string(raw)), " "); ok && of == place {
			return name, nil
		}
	}
	name := fmt.Sprintf("%s-%08x", host, rand.Uint32())
	if err := os.WriteFile(path, []byte(name+" "+place+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("name the data folder: %w", err)
	}
	return name, nil
}

// Owner is the name of this process's life, for TakeShard: its node and what tells it from other lives of the node.
func (s *Store) Owner() string {
	return fmt.Sprintf("%s/%d/%d", s.node, os.Getpid(), s.opened) // a process id comes again, a moment does not
}

// formerLife says that owner is an earlier process of our own data folder, which the folder's lock proves to be dead.
func (s *Store) formerLife(owner string) bool {
	return s.lock != nil && strings.HasPrefix(owner, s.node+"/")
}
