package store

import (
	"context"
	"fmt"

	"waihu"
)

// Resource is one thing that an apply file says. Value is a waihu.Account, Credential, waihu.Line,
// waihu.CallingHours, waihu.RedialRule, waihu.Named, waihu.AgentSpec, waihu.Task or waihu.Endpoint. A task without Weekly
// copies the calling hours that HoursID names.
type Resource struct {
	Kind   string // what Digests and reports call it
	ID     string // within the kind
	Digest string // of what the file says; see Sum
	Value  any
}

// Credential is a token with its secret. Applying it ends the account's other tokens of that name.
type Credential struct {
	Token
	Secret string
}

// ResourceRef names a Resource.
type ResourceRef struct{ Kind, ID string }

// ApplyError says which resource was refused. Nothing of its batch is kept.
type ApplyError struct {
	Index int
	Err   error
}

func (e *ApplyError) Error() string { return e.Err.Error() }
func (e *ApplyError) Unwrap() error { return e.Err }

// Digests are what was last applied, per resource.
func (s *Store) Digests(ctx context.Context) (map[ResourceRef]string, error) {
	out := map[ResourceRef]string{}
	err := s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var r ResourceRef
			var digest string
			if err := scan(&r.Kind, &r.ID, &digest); err != nil {
				return err
			}
			out[r] = digest
			return nil
		}, `select kind, id, digest from digests`)
	})
	return out, err
}

// Apply writes all resources, in their order, and their digests in one transaction, and says for each whether it was
// made new. When one is refused the error is an *ApplyError and nothing is written.
func (s *Store) Apply(ctx context.Context, list []Resource) (created []bool, err error) {
	if len(list) == 0 {
		return nil, nil
	}
	var tasks []waihu.Task
	for _, r := range list {
		if k, ok := r.Value.(waihu.Task); ok {
			tasks = append(tasks, k)
		}
	}
	if err := s.makeRoom(ctx, tasks...); err != nil {
		return nil, err
	}
	err = s.update(ctx, normal, func(t *tx) error {
		created = make([]bool, len(list))
		now := ms(s.now())
		for i, r := range list {
			if created[i], err = t.apply(r); err != nil {
				return &ApplyError{Index: i, Err: err}
			}
			if _, err := t.exec(`insert into digests (kind, id, digest, applied_at) values ($1, $2, $3, $4)
				on conflict (kind, id) do update set digest = excluded.digest, applied_at = excluded.applied_at`, r.Kind, r.ID, r.Digest, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.wakeOwner()
	s.endpointsChanged()
	return created, nil
}

func (t *tx) apply(r Resource) (created bool, err error) {
	missing := func(sql string, args ...any) bool {
		var n int
		if err == nil {
			_, err = t.one(into(&n), sql, args...)
		}
		return n == 0
	}
	switch v := r.Value.(type) {
	case waihu.Account:
		created = missing(`select count(*) from accounts where id = $1`, v.ID)
		if err == nil {
			err = t.putAccount(v)
		}
	case AccountRetention:
		created = missing(`select count(*) from retention where account = $1`, v.Account)
		if err == nil {
			err = t.putRetention(v)
		}
	case Credential:
		created = missing(`select count(*) from tokens where account = $1 and name = $2`, v.Account, v.Name)
		if err == nil {
			err = t.putToken(v.Token, v.Secret)
		}
		if err == nil { // another secret under the same name: the file has rotated it, the old one ends
			_, err = t.exec(`delete from tokens where account = $1 and name = $2 and hash <> $3`, v.Account, v.Name, tokenHash(v.Secret))
		}
	case DoorKey:
		created = missing(`select count(*) from door_keys where account = $1 and door = $2`, v.Account, v.Door)
		if err == nil {
			err = t.putDoorKey(v)
		}
	case waihu.Line:
		created = missing(`select count(*) from lines where id = $1`, v.ID)
		if err == nil {
			err = t.putLine(v, false)
		}
	case waihu.CallingHours:
		created = missing(`select count(*) from hours where id = $1`, v.ID)
		if err == nil {
			err = t.putHours(&v)
		}
	case waihu.RedialRule:
		created = missing(`select count(*) from redial_rules where id = $1`, v.ID)
		if err == nil {
			err = t.putRule(&v)
		}
	case waihu.Named:
		created = missing(`select count(*) from named where kind = $1 and id = $2`, v.Kind, v.ID)
		if err == nil {
			err = t.putNamed(&v)
		}
	case waihu.AgentSpec:
		created = missing(`select count(*) from agents where id = $1`, v.ID)
		if err == nil {
			err = t.putAgent(&v)
		}
	case waihu.Task:
		created = missing(`select count(*) from tasks where id = $1`, v.ID)
		if err == nil {
			err = t.applyTask(v, created)
		}
	case waihu.Model:
		created = missing(`select count(*) from models where id = $1`, v.ID)
		if err == nil {
			err = t.putModel(v)
		}
	case waihu.Endpoint:
		created = missing(`select count(*) from endpoints where id = $1`, v.ID)
		if err == nil {
			err = t.putEndpoint(&v, 0)
		}
	default:
		err = fmt.Errorf("%s %s: a %T cannot be applied", r.Kind, r.ID, r.Value)
	}
	return created, err
}

func (t *tx) applyTask(k waihu.Task, create bool) error {
	if k.HoursID != 0 && neverOpen(k.Weekly) {
		h, err := t.callingHours(k.Account, k.HoursID)
		if err != nil {
			return err
		}
		k.Weekly = h.Weekly
	}
	if create {
		return t.createTask(&k)
	}
	serial := k.Serial
	if err := t.updateTask(&k); err != nil {
		return err
	}
	if serial != 0 && serial != k.Serial {
		return waihu.FieldErrorf("serial", "the task exists with the serial %d, which never changes", k.Serial)
	}
	return nil
}
