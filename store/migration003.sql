-- Money, in 1/10000 yuan. bills only grows; a balance is the sum of its account's bills, moved in the same commit.
create table balances (account text primary key, amount bigint not null, check (amount >= 0));
create table bills (
	id {id}, account text not null, amount bigint not null,  -- above 0 paid in, below 0 taken out
	balance bigint not null,                                 -- after it
	remark text not null, at bigint not null
);
create index bills_account on bills (account, id);
