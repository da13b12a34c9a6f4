-- Batches that are worked in the background, and the customer pool.

-- state as BatchState. body: JSON of the door that made it
create table batches (
	id text primary key, account text not null, task text not null, kind text not null, state smallint not null,
	total integer not null, done integer not null, failed integer not null, body text not null,
	created_at bigint not null, done_at bigint not null
);
create index batches_account on batches (account, created_at);

-- what a batch does, in portions: body is JSON of the numbers, written before they are added to the task
create table batch_parts (batch text not null, n integer not null, done smallint not null, body text not null, primary key (batch, n));

create table customers (
	id {id}, account text not null, phone text not null, name text not null, email text not null, company text not null,
	sex smallint not null, operator smallint not null, followed smallint not null, sort integer not null, extra text not null,
	source bigint not null, industry bigint not null, grade bigint not null,
	created_at bigint not null, updated_at bigint not null
);
create unique index customers_phone on customers (account, phone);
create index customers_account on customers (account, id);

-- further fields of a customer, and what an account calls them: made by their first use
create table customer_fields (customer bigint not null, id text not null, value text not null, primary key (customer, id))
sqlite: without rowid
;
create table field_names (account text not null, id text not null, name text not null, created_at bigint not null, primary key (account, id));

postgres: alter table batches set (fillfactor = 80);
