-- Where callbacks go: endpoints, cursors, deliveries that failed.

-- an address that is told of events. version rises when anything changes but progress: it fences the process that delivers,
-- as owner and lease_until do between processes. sent, waiting and failed count what was delivered, what is tried again beside the
-- cursor, and what was given up
create table endpoints (
	id {id}, account text not null, door text not null, url text not null, task text not null,
	kinds text not null,               -- JSON list of event kinds
	authorization_sealed {bytes}, secret_sealed {bytes},
	remark text not null,
	version bigint not null, owner text not null, lease_until bigint not null,
	blocked_until bigint not null,     -- by the circuit breaker; 0: not
	last_ok bigint not null, last_error_at bigint not null, last_error text not null,
	sent bigint not null, waiting bigint not null, failed bigint not null,
	created_at bigint not null, updated_at bigint not null
);
create index endpoints_account on endpoints (account);

-- how far an endpoint is with the events of each account that it follows: all before next_n are delivered or stand in deliveries
create table cursors (endpoint bigint not null, account text not null, next_n bigint not null, primary key (endpoint, account))
sqlite: without rowid
;

-- events that were stepped over: state 0 is tried again, 1 given up
create table deliveries (
	endpoint bigint not null, account text not null, n bigint not null, state smallint not null,
	tries integer not null, error text not null, created_at bigint not null, updated_at bigint not null,
	primary key (endpoint, account, n)
)
sqlite: without rowid
;

-- each time the breaker blocked an endpoint; over when release_at has passed
create table blackouts (
	id {id}, endpoint bigint not null, account text not null, url text not null,
	since bigint not null, release_at bigint not null, created_at bigint not null, updated_at bigint not null
);
create index blackouts_account on blackouts (account, id);
create index blackouts_endpoint on blackouts (endpoint, id);

postgres: alter table endpoints set (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
postgres: alter table cursors set (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
