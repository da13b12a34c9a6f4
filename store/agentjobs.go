package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"waihu"
)

// AgentJob is something done with an agent in the background, under an id that its client was given. Its row says how
// it stands; the work itself is a job of kind JobKind in the queue, added in the same commit.
type AgentJob struct {
	ID                   int64
	Account              waihu.AccountID // who asked
	Agent                waihu.AgentID   // the agent it is about; of a copy its source
	AgentName            string          // when it was asked
	Kind                 AgentJobKind
	State                AgentJobState
	Result               string // what it made: of a copy the new agent's id, of an import how many entries
	Error                string // why it failed, safe to show
	Body                 []byte // JSON of the door that asked
	CreatedAt, UpdatedAt time.Time
}

// AgentJobKind is what is done with the agent.
type AgentJobKind string

const (
	AgentCopy    AgentJobKind = "copy"
	AgentPublish AgentJobKind = "publish"
	AgentImport  AgentJobKind = "import"
)

// JobKind is the kind of the queue's job that does the work; its key is the AgentJob's id in decimal.
func (k AgentJobKind) JobKind() string { return "agent." + string(k) }

// AgentJobState is how an AgentJob stands.
type AgentJobState int

const (
	AgentJobWaiting AgentJobState = iota
	AgentJobWorking
	AgentJobDone
	AgentJobFailed
)

// Over says that nothing more will happen.
func (s AgentJobState) Over() bool { return s >= AgentJobDone }

const (
	agentJobLife = 90 * 24 * time.Hour
	// A portion of a file is written in a few milliseconds, so that an upload does not hold up the ticks.
	filePortion = 256 << 10
	// Portions of which no job came are removed by the jobs of which this many younger ones exist, to twice as many: the
	// uploads of fewer may still be under way.
	uploadsAtOnce = 1000
)

// AddAgentJob writes j with its file, if any, and the job that works it; ID, State and the times are filled in. The
// agent must be one that the account may use, and its own unless it is only copied. An agent that is to be published
// is AgentPublishing from here on.
func (s *Store) AddAgentJob(ctx context.Context, j *AgentJob, file []byte) error {
	added := *j
	added.ID = 0
	if len(file) > 0 {
		if err := s.update(ctx, normal, func(t *tx) (err error) {
			added.ID, err = t.head("agent_jobs", 1)
			return err
		}); err != nil {
			return err
		}
		for n := 0; n*filePortion < len(file); n++ {
			part := file[n*filePortion : min((n+1)*filePortion, len(file))]
			if err := s.update(ctx, normal, func(t *tx) error { return t.putFile(added.ID, "file", n, part) }); err != nil {
				return err
			}
		}
	}
	id := added.ID
	err := s.update(ctx, normal, func(t *tx) error {
		added.ID = id
		return t.addAgentJob(&added)
	})
	if err == nil {
		*j = added
	}
	return err
}

func (t *tx) addAgentJob(j *AgentJob) (err error) {
	find := t.ownAgent
	if j.Kind == AgentCopy {
		find = t.usableAgent
	}
	a, err := find(j.Account, j.Agent)
	if err != nil {
		return err
	}
	if j.ID == 0 {
		if j.ID, err = t.head("agent_jobs", 1); err != nil {
			return err
		}
	}
	now := t.s.now()
	// Few at a time and by key: a job costs the same however many were kept. The oldest have the lowest ids.
	const old = `(select o.id from (select id, created_at, state from agent_jobs where account = $1 order by id limit 20) o where o.created_at < $2 and o.state >= 2)`
	for _, sql := range []string{`delete from agent_files where job in ` + old, `delete from agent_jobs where id in ` + old} {
		if _, err := t.exec(sql, j.Account, ms(now.Add(-agentJobLife))); err != nil {
			return err
		}
	}
	if _, err := t.exec(`delete from agent_files where job between $1 and $2 and not exists (select 1 from agent_jobs j where j.id = agent_files.job)`,
		j.ID-2*uploadsAtOnce, j.ID-uploadsAtOnce); err != nil {
		return err
	}
	if j.Kind == AgentPublish && a.State == waihu.AgentOffline {
		if err := t.setAgentState(&a, waihu.AgentPublishing); err != nil {
			return err
		}
	}
	j.AgentName, j.State, j.CreatedAt, j.UpdatedAt = a.Name, AgentJobWaiting, at(ms(now)), at(ms(now))
	if _, err := t.exec(`insert into agent_jobs (id, account, agent, agent_name, kind, state, result, error, body, created_at, updated_at)
		values ($1, $2, $3, $4, $5, $6, '', '', $7, $8, $8)`, j.ID, j.Account, j.Agent, j.AgentName, j.Kind, j.State, clean(string(j.Body)), ms(now)); err != nil {
		return err
	}
	return t.flushJobs([]waihu.Job{{Account: j.Account, Kind: j.Kind.JobKind(), Key: strconv.FormatInt(j.ID, 10)}})
}

func (t *tx) putFile(job int64, kind string, n int, data []byte) error {
	_, err := t.exec(`insert into agent_files (job, kind, n, data) values ($1, $2, $3, $4) on conflict (job, kind, n) do update set data = excluded.data`, job, kind, n, data)
	return err
}

// AgentJobFile is the whole file of a job of the account: kind "file" what was sent, "report" what became of it.
func (s *Store) AgentJobFile(ctx context.Context, account waihu.AccountID, id int64, kind string) (file []byte, err error) {
	err = s.read(ctx, func(t *tx) error {
		parts := 0
		err := t.each(func(scan func(...any) error) error {
			var part []byte
			if err := scan(&part); err != nil {
				return err
			}
			parts++
			file = append(file, part...)
			return nil
		}, `select f.data from agent_files f join agent_jobs j on j.id = f.job where f.job = $2 and j.account = $1 and f.kind = $3 order by f.n`, account, id, kind)
		if err == nil && parts == 0 {
			err = notFound("file of job", id)
		}
		return err
	})
	return file, err
}

const agentJobColumns = `id, account, agent, agent_name, kind, state, result, error, body, created_at, updated_at`

func (t *tx) agentJobs(where string, args ...any) (list []AgentJob, err error) {
	err = t.each(func(scan func(...any) error) error {
		var j AgentJob
		var body string
		var created, updated int64
		if err := scan(&j.ID, &j.Account, &j.Agent, &j.AgentName, &j.Kind, &j.State, &j.Result, &j.Error, &body, &created, &updated); err != nil {
			return err
		}
		j.Body, j.CreatedAt, j.UpdatedAt = []byte(body), at(created), at(updated)
		list = append(list, j)
		return nil
	}, `select `+agentJobColumns+` from agent_jobs where `+where, args...)
	return list, err
}

// AgentJob is one job of the account.
func (s *Store) AgentJob(ctx context.Context, account waihu.AccountID, id int64) (j AgentJob, err error) {
	err = s.read(ctx, func(t *tx) error {
		list, err := t.agentJobs(`account = $1 and id = $2`, account, id)
		if err == nil && len(list) == 0 {
			return notFound("agent job", id)
		}
		if err == nil {
			j = list[0]
		}
		return err
	})
	return j, err
}

// AgentJobs are the account's jobs, newest first, page by page (from 1; perPage 0 means 15), and how many there are.
// An empty agent or kind chooses all.
func (s *Store) AgentJobs(ctx context.Context, account waihu.AccountID, agent waihu.AgentID, kind AgentJobKind, page, perPage int) (list []AgentJob, total int, err error) {
	where, args := `account = $1`, []any{account}
	if agent != "" {
		args = append(args, agent)
		where += fmt.Sprintf(` and agent = $%d`, len(args))
	}
	if kind != "" {
		args = append(args, kind)
		where += fmt.Sprintf(` and kind = $%d`, len(args))
	}
	limit, offset := paging(page, perPage)
	err = s.read(ctx, func(t *tx) error {
		if _, err := t.one(into(&total), `select count(*) from agent_jobs where `+where, args...); err != nil {
			return err
		}
		list, err = t.agentJobs(where+fmt.Sprintf(` order by id desc limit %d offset %d`, limit, offset), args...)
		return err
	})
	return list, total, err
}

// BeginAgentJob marks a job as being worked and returns it; what is over stays as it is.
func (s *Store) BeginAgentJob(ctx context.Context, account waihu.AccountID, id int64) (AgentJob, error) {
	if err := s.update(ctx, normal, func(t *tx) error {
		_, err := t.exec(`update agent_jobs set state = 1, updated_at = $3 where id = $1 and account = $2 and state = 0`, id, account, ms(s.now()))
		return err
	}); err != nil {
		return AgentJob{}, err
	}
	return s.AgentJob(ctx, account, id)
}

// finish ends a job inside the commit of what it did, and says false when it was over already: then nothing may be
// done again.
func (t *tx) finishAgentJob(account waihu.AccountID, id int64, state AgentJobState, result, reason string) (bool, error) {
	n, err := t.exec(`update agent_jobs set state = $3, result = $4, error = $5, updated_at = $6 where id = $1 and account = $2 and state < 2`,
		id, account, state, clean(result), clean(reason), ms(t.s.now()))
	return n > 0, err
}

// FailAgentJob ends a job without effect, with a reason for the client and a report when there is one. An agent that
// was to be published is offline again.
func (s *Store) FailAgentJob(ctx context.Context, j AgentJob, reason string, report []byte) error {
	return s.update(ctx, normal, func(t *tx) error {
		mine, err := t.finishAgentJob(j.Account, j.ID, AgentJobFailed, "", reason)
		if err != nil || !mine {
			return err
		}
		if len(report) > 0 {
			if err := t.putFile(j.ID, "report", 0, report); err != nil {
				return err
			}
		}
		if j.Kind == AgentPublish {
			_, err = t.exec(`update agents set state = 0 where id = $1 and account = $2 and state = 1`, j.Agent, j.Account)
		}
		return err
	})
}

// CopyAgent makes the agent of a copy's job once more, for the account that asked: its newest version whole, under a
// free name that begins with the source's, with an id of its own and no external ones, offline. edit may change what
// is the door's. The new agent and the end of the job are one commit, so a job that is worked twice copies once. A name
// that was taken meanwhile is ErrNameTaken: try again.
func (s *Store) CopyAgent(ctx context.Context, j AgentJob, edit func(*waihu.AgentSpec)) error {
	err := s.updateThen(ctx, normal, func(t *tx) error {
		a, err := t.usableAgent(j.Account, j.Agent)
		if err != nil {
			return err
		}
		source := a.Name
		a.Account, a.ID, a.Version, a.ExternalIDs = j.Account, "", 0, nil
		if err := t.agentID(&a); err != nil {
			return err
		}
		if a.Name, err = t.copyName(j, source); err != nil {
			return err
		}
		edit(&a)
		if err := t.newAgent(&a); err != nil {
			return err
		}
		mine, err := t.finishAgentJob(j.Account, j.ID, AgentJobDone, string(a.ID), "")
		if err == nil && !mine {
			err = errOver
		}
		return err
	}, "copy.before_commit", "copy.after_commit")
	if errors.Is(err, errOver) {
		return nil
	}
	return err
}

// errOver rolls back what was done already.
var errOver = errors.New("the job is over already")

// copyName is the next free name. A counter per source, not a search from the beginning: the thousandth copy looks once.
func (t *tx) copyName(j AgentJob, source string) (string, error) {
	space, err := t.space(j.Account)
	if err != nil {
		return "", err
	}
	for {
		n, err := t.head("copies:"+string(j.Agent), 1)
		if err != nil {
			return "", err
		}
		name := source + "-副本" + strconv.FormatInt(n, 10)
		taken := 0
		if _, err := t.one(into(&taken), `select (select count(*) from agent_names where space = $1 and name = $2)
			+ (select count(*) from agents where account in (select id from accounts where id = $1 or parent = $1) and name = $2)`, space, name); err != nil {
			return "", err
		}
		if taken == 0 {
			return name, nil
		}
	}
}

// PublishAgent ends a publication's job: its agent is online.
func (s *Store) PublishAgent(ctx context.Context, j AgentJob) error {
	return s.update(ctx, normal, func(t *tx) error {
		a, err := t.ownAgent(j.Account, j.Agent)
		if err != nil {
			return err
		}
		mine, err := t.finishAgentJob(j.Account, j.ID, AgentJobDone, string(a.ID), "")
		if err != nil || !mine {
			return err
		}
		return t.setAgentState(&a, waihu.AgentOnline)
	})
}

// ImportIntoAgent ends an import's job: what edit makes of the agent is its next version, in the same commit as the
// job's end and its report.
func (s *Store) ImportIntoAgent(ctx context.Context, j AgentJob, edit func(*waihu.AgentSpec) error, result string, report []byte) error {
	err := s.update(ctx, normal, func(t *tx) error {
		mine, err := t.finishAgentJob(j.Account, j.ID, AgentJobDone, result, "")
		if err != nil || !mine {
			return err
		}
		if err := t.putFile(j.ID, "report", 0, report); err != nil {
			return err
		}
		_, err = t.editAgent(j.Account, j.Agent, edit)
		return err
	})
	if err == nil {
		s.wakeOwner()
	}
	return err
}
