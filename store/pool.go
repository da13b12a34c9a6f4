package store

import (
	"context"
	"errors"
	"sync"
)

// conn is one database connection, of either engine.
type conn interface {
	// exec runs one statement and says how many rows it changed.
	exec(ctx context.Context, text string, args ...any) (int64, error)
	query(ctx context.Context, text string, args ...any) (rows, error)
	script(ctx context.Context, text string) error // several statements without parameters
	broken() bool
	close() error
}

// rows is what a query returns. Close may be called twice.
type rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
	Close()
}

// pool keeps up to a fixed number of connections, opened when first needed.
// (pgx has its own pool in a package of its own; a common one for both engines is shorter.)
type pool struct {
	open func(ctx context.Context) (conn, error)
	sem  chan struct{}
	mu   sync.Mutex
	idle []conn
	shut bool
}

var errClosed = errors.New("the ledger is closed")

func newPool(n int, open func(context.Context) (conn, error)) *pool {
	return &pool{open: open, sem: make(chan struct{}, n)}
}

func (p *pool) get(ctx context.Context) (conn, error) {
	select {
	case p.sem <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	if p.shut {
		p.mu.Unlock()
		<-p.sem
		return nil, errClosed
	}
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	c, err := p.open(ctx)
	if err != nil {
		<-p.sem
		return nil, err
	}
	return c, nil
}

func (p *pool) put(c conn) {
	p.mu.Lock()
	if !p.shut && !c.broken() {
		p.idle = append(p.idle, c)
		c = nil
	}
	p.mu.Unlock()
	if c != nil {
		c.close() // it is broken or the pool is closed: nobody needs its last words
	}
	<-p.sem
}

// close waits until every connection is back and closes them.
func (p *pool) close() error {
	p.mu.Lock()
	if p.shut {
		p.mu.Unlock()
		return nil
	}
	p.shut = true
	p.mu.Unlock()
	for range cap(p.sem) {
		p.sem <- struct{}{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, c := range p.idle {
		errs = append(errs, c.close())
	}
	p.idle = nil
	for range cap(p.sem) {
		<-p.sem
	}
	return errors.Join(errs...)
}
