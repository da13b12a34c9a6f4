#!/bin/sh
# A private PostgreSQL for tests: a new cluster in a temporary folder, reached through a unix socket in it.
# Prints its address once it answers. Ends, and removes its folder, when its input is closed, which the
# death of whoever started it does as well. Arguments go to the server. Status 77: not installed.
set -eu

bin=
for dir in "$(dirname "$(command -v initdb || echo /nowhere/initdb)")" /usr/lib/postgresql/*/bin; do # Debian keeps them out of PATH
	[ -x "$dir/initdb" ] && [ -x "$dir/postgres" ] && bin=$dir
done
[ -n "$bin" ] || exit 77

as= pid=
if [ "$(id -u)" = 0 ]; then # the server refuses to run as root
	id postgres >/dev/null 2>&1 || exit 77
	as="setpriv --reuid=postgres --regid=postgres --init-groups"
fi
home=$(mktemp -d /tmp/waihu-pg-XXXXXX) # not TMPDIR: a socket's path is at most 107 bytes long
end() {
	[ -z "$pid" ] || { kill -INT "$pid" 2>/dev/null && wait "$pid"; } || :
	rm -rf "$home"
}
trap end EXIT
trap 'exit 1' HUP INT TERM
[ -z "$as" ] || chown postgres "$home"
cd "$home"

$as "$bin/initdb" -D data -U waihu -A trust -E UTF8 --locale=C --no-sync >log 2>&1 || { cat log >&2; exit 1; }
$as "$bin/postgres" -D data -k "$home" -h "" -c max_connections=200 -c shared_buffers=256MB -c log_min_messages=fatal "$@" </dev/null >>log 2>&1 &
pid=$!
tries=600
until "$bin/pg_isready" -q -h "$home"; do
	tries=$((tries - 1))
	[ "$tries" -gt 0 ] && kill -0 "$pid" 2>/dev/null || { cat log >&2; exit 1; }
	sleep 0.1
done
echo "postgres://waihu@/postgres?host=$home"
read -r _ || :
