-- The tables of waihu. One text for both engines: {id} is the primary key of small integer ids,
-- {bytes} a column of bytes, and a line beginning with an engine's name and a colon is for that engine.
-- Times are unix milliseconds, 0 meaning none. Flags are 0 or 1. JSON is text.
-- Every task has two names: tasks.id is the word outside, tasks.serial the small number that all
-- ledger rows carry as "task", because a row of a million must not carry 36 letters in every index.

create table settings (name text primary key, value text not null);

-- Counters that rise inside transactions, so without gaps: 'events:ACCOUNT', 'events-of:TASK ID', 'seq:SERIAL',
-- 'serial', and for the small integer ids of resources 'callers', 'agent_versions', 'hours', 'redial_rules', 'named:KIND', 'jobs'.
-- tx.head takes the next, tx.headAtLeast learns of an id given from outside.
create table heads (name text primary key, n bigint not null)
sqlite: without rowid
;

-- who owns what: accounts are pinned to a shard, a shard has one owner at a time, named by its epoch
create table shards (id {id}, epoch bigint not null, owner text not null, url text not null, lease_until bigint not null);
insert into shards (id, epoch, owner, url, lease_until) values (0, 0, '', '', 0);
create table nodes (id text primary key, url text not null, capacity integer not null, lease_until bigint not null, draining smallint not null);

create table accounts (
	id text primary key, parent text not null, name text not null, email text not null, phone text not null, zone text not null,
	shard integer not null default 0,
	doors text not null,               -- JSON object: door name -> what the door keeps
	created_at bigint not null, updated_at bigint not null
);
create index accounts_parent on accounts (parent);

-- hash: hex SHA-256 of the token; the token itself is never stored
create table tokens (
	hash text primary key, account text not null, name text not null,
	scope text not null default '',    -- '' everything; else what the door or the API understands by it
	created_at bigint not null, used_at bigint not null default 0, expires_at bigint not null default 0
);
create index tokens_account on tokens (account);

create table lines (
	id text primary key, account text not null, name text not null, remark text not null, node text not null,
	concurrency integer not null, cps integer not null, expires_at bigint not null,
	trunk text not null,               -- JSON of waihu.Trunk without its password
	secret {bytes},                    -- the password, sealed; null when there is none
	created_at bigint not null, updated_at bigint not null
);
create index lines_account on lines (account);

create table callers (id {id}, line text not null, number text not null, state smallint not null);
create unique index callers_number on callers (line, number);

-- agents: the current version's header; agent_versions never change
create table agents (
	id text primary key, account text not null, name text not null, version integer not null, version_id bigint not null,
	created_at bigint not null, updated_at bigint not null
);
create index agents_account on agents (account);
create table agent_versions (id {id}, agent text not null, version integer not null, spec text not null, created_at bigint not null);
create unique index agent_versions_once on agent_versions (agent, version);

-- calling hours: config is JSON of waihu.Weekly
create table hours (
	id {id}, account text not null, name text not null, remark text not null, is_default smallint not null, skip_holiday smallint not null,
	config text not null, created_at bigint not null, updated_at bigint not null
);
create index hours_account on hours (account);

-- redial rules: config is JSON of []waihu.RedialDetail
create table redial_rules (
	id {id}, account text not null, name text not null, remark text not null, is_default smallint not null,
	config text not null, created_at bigint not null, updated_at bigint not null
);
create index redial_rules_account on redial_rules (account);

create table named (
	kind text not null, id bigint not null, account text not null, name text not null, data text not null,
	created_at bigint not null, updated_at bigint not null, primary key (kind, id)
);
create index named_account on named (account, kind);

-- digests of what an apply file said last, per resource
create table digests (kind text not null, id text not null, digest text not null, applied_at bigint not null, primary key (kind, id));

-- tasks: columns are what SQL must see, config is JSON of the rest (routing, weekly hours, holidays, redial, end action ...).
-- run: the number of the last run, 0 before the first. deleted: invisible, its rows are being removed.
create table tasks (
	id text primary key, serial bigint not null, account text not null, shard integer not null default 0,
	name text not null, remark text not null, agent text not null, concurrency integer not null,
	start_at bigint not null, stop_at bigint not null,
	started smallint not null default 0, run integer not null default 0, deleted smallint not null default 0,
	config text not null, doors text not null,
	created_at bigint not null, updated_at bigint not null
);
create unique index tasks_serial on tasks (serial);
create index tasks_account on tasks (account, serial);
create index tasks_started on tasks (shard) where started = 1;
create index tasks_deleted on tasks (serial) where deleted = 1;

create table task_lines (
	task bigint not null, line text not null, pos integer not null, cap integer not null, primary key (task, line),
	check (cap >= 0)
);
create index task_lines_line on task_lines (line);

-- runs: state as waihu.RunState
create table runs (
	task bigint not null, n integer not null, state smallint not null, reason text not null, detail text not null,
	started_at bigint not null, closed_at bigint not null, ended_at bigint not null, primary key (task, n),
	check (state between 0 and 2)
);
create index runs_alive on runs (task, n) where state < 2;

-- what each run that has not ended holds of its lines; the hold of a task is the largest of its runs'
create table reservations (task bigint not null, line text not null, run integer not null, cap integer not null, primary key (line, task, run));
create index reservations_task on reservations (task, run);

-- numbers: state as waihu.NumberState. key is as imported and unique in the task, phone is what is dialled.
create table numbers (
	task bigint not null, seq bigint not null, key text not null, phone text not null,
	data text not null,                -- JSON of waihu.NumberData, '' when empty
	rnd bigint not null,
	state smallint not null, due_at bigint not null,
	attempts integer not null,         -- dials that left or may have left; only grows
	redials integer not null,          -- what redial limits count; zeroed by a reset
	faults integer not null,           -- carrier's or own faults in a row
	outcome smallint not null, grade text not null, last_call bigint not null,
	created_at bigint not null, updated_at bigint not null,
	primary key (task, seq), check (state between 0 and 4)
)
sqlite: without rowid
;
create unique index numbers_key on numbers (task, key);
create index numbers_alias  on numbers (task, phone) where key <> phone;
create index numbers_random on numbers (task, rnd) where state = 0;
create index numbers_order  on numbers (task, seq) where state = 0;
create index numbers_due    on numbers (task, due_at) where state = 2;

-- calls: one row per dial intent, small. outcome 17: provably never left, so the attempt may be dialled again.
create table calls (
	id {id}, task bigint not null, run integer not null, seq bigint not null, attempt integer not null,
	line text not null, agent text not null, node text not null,
	started_at bigint not null, answered_at bigint not null, ended_at bigint not null,
	outcome smallint not null, grade text not null, rounds integer not null
);
create unique index calls_once on calls (task, seq, attempt) where outcome <> 17;
create index calls_live on calls (task, run, id) where ended_at = 0;
create index calls_task on calls (task, id);
create table call_details (call {id}, body text not null);

-- gauges: kind 's' numbers by state, 'o' numbers by what they show (outcome), 'g' numbers by grade, 'r' answered calls by rounds, 'c' calls that left
create table counts (task bigint not null, kind text not null, code text not null, n bigint not null, primary key (task, kind, code))
sqlite: without rowid
;
-- what happened in each minute: 'b' calls begun, 'o' calls ended by outcome, 'g' by grade, 'r' answered by rounds, 't' talk ms
create table stats (task bigint not null, minute bigint not null, kind text not null, code text not null, n bigint not null, primary key (task, minute, kind, code))
sqlite: without rowid
;

create table suppressed (account text not null, phone text not null, since bigint not null, reason text not null, call bigint not null, primary key (account, phone));

create table events (
	account text not null, n bigint not null, task text not null, task_n bigint not null, at bigint not null,
	kind text not null, call bigint not null, body text not null, primary key (account, n)
)
sqlite: without rowid
;

-- jobs: state 0 to do (again after run_at; a job that is being worked has its lease's end there), 1 given up
create table jobs (
	id {id}, account text not null, kind text not null, key text not null, body text not null, state smallint not null,
	run_at bigint not null, tries integer not null, error text not null, created_at bigint not null
);
create unique index jobs_once on jobs (kind, key);
create index jobs_due on jobs (kind, run_at) where state = 0;

postgres: alter table numbers set (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
postgres: alter table calls set (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
postgres: alter table jobs set (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
postgres: alter table shards set (fillfactor = 50, autovacuum_vacuum_threshold = 50, autovacuum_vacuum_scale_factor = 0);
postgres: alter table heads set (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
postgres: alter table counts set (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
postgres: alter table stats set (fillfactor = 80);
