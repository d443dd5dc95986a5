#!/bin/sh
# Make the secrets of a Weir installation, one file each: make-secrets.sh [FOLDER]
# The default folder is the one that docker-compose.yml reads. Files that are there already stay,
# so running it again is safe; to rotate a secret, delete its file first.
#
# The folder is private to you (0700); the files in it are readable (0444), since a container reads
# them as another user than you.
set -eu
umask 077

folder=${1:-$(dirname "$0")/secrets}
command -v openssl >/dev/null || { echo "make-secrets: openssl is not installed" >&2; exit 1; }
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

# keep NAME COMMAND…: write the command's output to NAME, unless it is there.
keep() {
    name=$1
    shift
    [ -s "$name" ] && return
    "$@" >"$name.new" || { rm -f "$name.new"; echo "make-secrets: could not make $name" >&2; exit 1; }
    chmod 444 "$name.new"
    mv "$name.new" "$name"
}

# libpq reads the password from a service file; unlike a passfile it may be readable to a group.
pg_service() {
    printf '[weir]\npassword=%s\n' "$(cat "$1")"
}

keep service_token openssl rand -hex 32
keep policy_pepper openssl rand -hex 32
keep admission_private_key openssl genpkey -algorithm ED25519
keep admission_public_key openssl pkey -in admission_private_key -pubout
keep postgres_password openssl rand -hex 32
keep policy_db_password openssl rand -hex 32
keep billing_db_password openssl rand -hex 32
keep policy_pg_service pg_service policy_db_password
keep billing_pg_service pg_service billing_db_password
keep grafana_password openssl rand -hex 16
