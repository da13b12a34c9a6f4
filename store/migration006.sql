-- Where recordings lie and how long things are kept; erasures.

-- A finished recording. place: '' in the folder of recordings, else the bucket that it was moved to. sum: hex SHA-256 of the file.
create table recordings (
	call {id}, account text not null, name text not null, place text not null,
	size bigint not null, sum text not null, ended_at bigint not null
);
create index recordings_account on recordings (account, ended_at);

-- For how many days an account keeps what calls leave behind, counted from their end; 0 for ever.
-- An account without a row keeps things as its main account does.
create table retention (account text primary key, calls integer not null, transcripts integer not null, recordings integer not null, updated_at bigint not null);

-- How far retention has come in a task: all calls before these ids have been looked at.
create table retained (task bigint primary key, calls bigint not null, transcripts bigint not null);

-- Whom an account must not call, as keyed hashes of the number in its one canonical form (PhoneNumber.Canonical). Every row of
-- suppressed has one, which outlives the row when the number is erased.
create table suppressed_sums (account text not null, sum text not null, since bigint not null, reason text not null, primary key (account, sum))
sqlite: without rowid
;

-- What was erased: never the number, only its keyed hash; account '' for the whole installation. report: JSON of EraseReport.
create table erasures (id {id}, account text not null, sum text not null, at bigint not null, report text not null);
