-- Prices, line allocations, bills of calls.

-- What a minute of talk costs who uses the line without an allocation, in 1/10000 yuan; charged in whole steps of seconds (0: 60).
alter table lines add column price bigint not null default 0;
alter table lines add column price_step integer not null default 0;

-- A line that its owner has given an account a part of: how many calls at once, until when, at what price.
create table allocations (
	id {id}, line text not null, account text not null, name text not null, concurrency integer not null, price bigint not null,
	begin_at bigint not null, deadline_at bigint not null,  -- deadline 0: none
	agents text not null,                                   -- JSON list of the agents bound to it
	created_at bigint not null, updated_at bigint not null
);
create unique index allocations_once on allocations (line, account);
create index allocations_account on allocations (account);

-- What each answered call on a line with a price has cost, written in the commit that books its end: at most once a call.
-- A balance is the sum of its account's bills less the sum of its charges; calls in progress may take it below zero.
create table charges (
	call {id}, account text not null, task text not null, line text not null,
	price bigint not null, step integer not null, talk_ms bigint not null,
	seconds bigint not null,                                -- charged: talk in whole steps
	amount bigint not null, at bigint not null
);
create index charges_account on charges (account, at);

create table balances_signed (account text primary key, amount bigint not null);
insert into balances_signed (account, amount) select account, amount from balances;
drop table balances;
alter table balances_signed rename to balances;

-- Keys by which a door and an account's client encrypt fields on the wire. secret: sealed
create table door_keys (account text not null, door text not null, secret {bytes} not null, updated_at bigint not null, primary key (account, door));
