-- Jobs that are counted and shared fairly, and what the check after a call found.

-- Where the jobs of an account stand, moved in the commit that moves them: waiting are those to do (also those being
-- worked now), dead those given up and kept, done those finished since the ledger began.
create table job_counts (
	kind text not null, account text not null, waiting bigint not null, dead bigint not null, done bigint not null,
	primary key (kind, account)
)
sqlite: without rowid
;
insert into job_counts (kind, account, waiting, dead, done)
	select kind, account, sum(case when state = 0 then 1 else 0 end), sum(case when state = 0 then 0 else 1 end), 0 from jobs group by kind, account;
alter table jobs add column failed integer not null default 0; -- takings that failed or of which nothing was heard
update jobs set failed = tries;
drop index jobs_due;
-- a tenant's jobs in their order: they are taken in turns, so that a hundred thousand of one do not stand before one of another
create index jobs_due on jobs (kind, account, run_at) where state = 0;
create index jobs_dead on jobs (kind, account, id) where state = 1;

-- language models, for all accounts; config is JSON of waihu.Model without its key
create table models (id text primary key, config text not null, secret {bytes}, created_at bigint not null, updated_at bigint not null);

-- body: JSON of waihu.Review; a later check replaces it
create table reviews (call {id}, task bigint not null, at bigint not null, grade text not null, body text not null);
create index reviews_task on reviews (task, call);

-- body: JSON of waihu.TaskSummary
create table summaries (task bigint not null, run integer not null, at bigint not null, body text not null, primary key (task, run));

-- further gauges in counts: 'v' reviews that a run (code) waits for, 'h' calls in which a wanted answer was found, 'q' answers to
-- questions, code KEY, unit separator (0x1f), answer (empty for an answer in own words)

postgres: alter table job_counts set (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
