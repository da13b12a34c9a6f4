package wrapup

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/expr-lang/expr/vm"

	"waihu"
)

// memory keeps what the reviews of one campaign have in common. What can be changed is read again after Options.Fresh.
type memory struct {
	specs  kept[versionKey, waihu.AgentSpec]
	tasks  kept[taskKey, waihu.Task]
	named  kept[namedKey, *waihu.Named]
	models kept[string, []waihu.Model]
}

type versionKey struct {
	account waihu.AccountID
	id      int64
}

type taskKey struct {
	account waihu.AccountID
	id      waihu.TaskID
}

type namedKey struct {
	account waihu.AccountID
	kind    waihu.NamedKind
	id      int64
}

// forever is for what never changes.
const (
	forever = time.Hour
	maxKept = 256
)

// kept is values by key, each for some time; the zero value is empty. Errors are not kept.
type kept[K comparable, V any] struct {
	mu sync.Mutex
	m  map[K]keptValue[V]
}

type keptValue[V any] struct {
	v     V
	until time.Time
}

func (k *kept[K, V]) get(key K, age time.Duration, read func() (V, error)) (V, error) {
	now := time.Now()
	k.mu.Lock()
	x, ok := k.m[key]
	k.mu.Unlock()
	if ok && now.Before(x.until) {
		return x.v, nil
	}
	v, err := read()
	if err != nil {
		return v, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m == nil || len(k.m) >= maxKept {
		k.m = map[K]keptValue[V]{}
	}
	k.m[key] = keptValue[V]{v, now.Add(age)}
	return v, nil
}

func (w *Wrapup) task(ctx context.Context, account waihu.AccountID, id waihu.TaskID) (waihu.Task, error) {
	return w.memory.tasks.get(taskKey{account, id}, w.o.Fresh, func() (waihu.Task, error) { return w.o.Store.Task(ctx, account, id) })
}

// agentOf is the version that talked; for a later check the one that would talk now: the newest, or what the task pins. What it returns is
// shared: it is not to be changed.
func (w *Wrapup) agentOf(ctx context.Context, call *waihu.Call, task *waihu.Task, order waihu.ReviewOrder) (waihu.AgentSpec, error) {
	version := cmp.Or(call.Version, order.Version)
	if order.Again || version == 0 {
		return w.o.Store.TaskAgent(ctx, task, call.Agent)
	}
	return w.memory.specs.get(versionKey{call.Account, version}, forever, func() (waihu.AgentSpec, error) { return w.o.Store.AgentVersion(ctx, call.Account, version) })
}

func (w *Wrapup) configured(ctx context.Context) ([]waihu.Model, error) {
	return w.memory.models.get("", w.o.Fresh, func() ([]waihu.Model, error) { return w.o.Models(ctx) })
}

// readNamed is a check or scheme; nil when there is none.
func (w *Wrapup) readNamed(ctx context.Context, key namedKey) (*waihu.Named, error) {
	return w.memory.named.get(key, w.o.Fresh, func() (*waihu.Named, error) {
		found, err := w.o.Store.Named(ctx, key.account, key.kind, key.id)
		if waihu.ErrorCode(err) == waihu.ENotFound {
			return nil, nil
		}
		return &found, err
	})
}

// rules are compiled rules by their text: a campaign has a few.
var rules kept[string, *vm.Program]

func compiled(rule string) (*vm.Program, error) {
	return rules.get(rule, forever, func() (*vm.Program, error) { return compile(rule) })
}
