-- What the VoiceFox door needs to keep: small integer ids of accounts and agents, which its contract names
-- (tasks, callers and agent versions have theirs), and what a call was begun with.

-- An agent whose id is a decimal number keeps that number; others get one beside their id. 0: none yet.
alter table accounts add column serial bigint not null default 0;
alter table agents add column serial bigint not null default 0;

update accounts set serial = (select count(*) from accounts b where b.created_at < accounts.created_at or (b.created_at = accounts.created_at and b.id <= accounts.id));
insert into heads (name, n) select 'accounts', count(*) from accounts where true on conflict (name) do nothing;
create unique index accounts_serial on accounts (serial) where serial > 0;

sqlite: update agents set serial = cast(id as integer) where id glob '[1-9]*' and id not glob '*[^0-9]*' and length(id) <= 18;
postgres: update agents set serial = cast(id as bigint) where id ~ '^[1-9][0-9]{0,17}$';
update agents set serial = (select coalesce(max(m.serial), 0) from agents m where m.serial between 1 and 999999999)
	+ (select count(*) from agents b where b.id <= agents.id) where serial = 0;
insert into heads (name, n) select 'agents', coalesce(max(serial), 0) from agents where serial < 1000000000
	on conflict (name) do update set n = case when heads.n < excluded.n then excluded.n else heads.n end;
create unique index agents_serial on agents (serial) where serial > 0;

-- version: the row of agent_versions that talked. caller: the caller number that the task chose, 0 when the line did.
alter table calls add column version bigint not null default 0;
alter table calls add column caller bigint not null default 0;

-- gauge 'a': calls that left, by agent
insert into counts (task, kind, code, n) select task, 'a', agent, count(*) from calls where outcome <> 17 group by task, agent;
