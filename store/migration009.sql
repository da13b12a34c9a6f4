-- Agents as vendors' doors manage them: whether they may call, under which names and ids they are known, and what is
-- done with them in the background.

-- as waihu.AgentState; agents of the apply file are online since they were made
alter table agents add column state smallint not null default 2 check (state between 0 and 2);

-- Who had a name first in a main account and its sub-accounts together (space: the main account). The doors that promise
-- unique names take only what is free here; the apply file may use a name twice.
create table agent_names (space text not null, name text not null, agent text not null, primary key (space, name));
create index agents_name on agents (account, name);
create index agent_names_agent on agent_names (agent);
insert into agent_names (space, name, agent)
	select s.space, s.name, min(s.agent) from
		(select case when p.parent = '' then p.id else p.parent end as space, a.name as name, a.id as agent from agents a join accounts p on p.id = a.account) s
	group by s.space, s.name;

-- the ids under which doors know an agent, kept with its newest version
create table agent_externals (account text not null, door text not null, id text not null, agent text not null, primary key (account, door, id));
create index agent_externals_agent on agent_externals (agent);
sqlite: insert or ignore into agent_externals (account, door, id, agent) select a.account, e.key, e.value, a.id from agents a join agent_versions v on v.id = a.version_id, json_each(v.spec, '$.external_ids') e;
postgres: insert into agent_externals (account, door, id, agent) select a.account, e.key, e.value, a.id from agents a join agent_versions v on v.id = a.version_id, jsonb_each_text(coalesce(cast(v.spec as jsonb)->'external_ids', '{}')) e on conflict do nothing;

-- copies, publications, document imports. state as JobState; body: JSON of the door that asked; result: what it made
create table agent_jobs (
	id {id}, account text not null, agent text not null, agent_name text not null, kind text not null, state smallint not null,
	result text not null, error text not null, body text not null,
	created_at bigint not null, updated_at bigint not null, check (state between 0 and 3)
);
create index agent_jobs_account on agent_jobs (account, id);
create index agent_jobs_agent on agent_jobs (account, agent, id);
create index agent_jobs_kind on agent_jobs (account, kind, id);

-- files of such jobs in portions, written before the job itself: kind 'file' what was sent, 'report' what became of it
create table agent_files (job bigint not null, kind text not null, n integer not null, data {bytes} not null, primary key (job, kind, n));

postgres: alter table agent_jobs set (fillfactor = 80);
