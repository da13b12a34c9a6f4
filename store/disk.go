package store

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"waihu"
)

// disk watches the free space under the data folder. The zero value never complains.
type disk struct {
	dir   string
	least uint64
	every time.Duration

	mu   sync.Mutex
	last time.Time
	err  error
	free func(dir string) (uint64, error) // tests replace it
}

// full is ErrDiskFull while there is less room than the threshold. The kernel is asked at most once per interval.
func (d *disk) full(now time.Time) error {
	if d.dir == "" {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.last.IsZero() && now.Sub(d.last) < d.every && now.Sub(d.last) >= 0 {
		return d.err
	}
	d.last, d.err = now, nil
	ask := d.free
	if ask == nil {
		ask = freeSpace
	}
	free, err := ask(d.dir)
	switch {
	case err != nil:
		d.err = fmt.Errorf("%w, or cannot be asked: %w", waihu.ErrDiskFull, err) // fail closed
	case free < d.least:
		d.err = fmt.Errorf("%w: %d MB left, %d MB needed", waihu.ErrDiskFull, free>>20, d.least>>20)
	}
	return d.err
}

func freeSpace(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil
}
