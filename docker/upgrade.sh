#!/bin/sh
# Replaces the replicas of compose.yaml by new ones, for a new image or other settings, without an outage:
#   docker compose -f docker/compose.yaml build unmask
#   docker/upgrade.sh                  with options of `docker compose`, where those are used: -f FILE, -p NAME
# One after the other: a new one starts beside the old ones, is waited for, and then an old one is stopped,
# which lets what it runs end. A new one that is not healthy after UPGRADE_WAIT seconds (600), or that ends
# before, is taken away again; the old ones that are left go on, and the exit status is 1. Compose itself
# would replace all at once. Not for the balancer, and not for GPUs, where a new one has no room beside the
# old: see docs/operations.md.
set -eu
service=unmask
wait_seconds=${UPGRADE_WAIT:-600}
# Until the balancer has looked up the name again and checked the new address (haproxy.cfg: 2 s, 0.5 s).
settle_seconds=${UPGRADE_SETTLE:-5}
COMPOSE_FILE=${COMPOSE_FILE:-$(cd "$(dirname "$0")" && pwd)/compose.yaml} # -f is stronger
export COMPOSE_FILE
new=

say() { echo "upgrade: $*" >&2; }

name() { docker inspect --format '{{.Name}}' "$1" | sed 's|^/||'; }

added() { # containers before, containers after: those that came
    for container in $2; do
        case $1 in
        *"$container"*) ;;
        *) echo "$container" ;;
        esac
    done
}

becomes_healthy() { # container
    left=$wait_seconds
    while [ "$left" -ge 0 ]; do
        state=$(docker inspect --format \
            '{{.RestartCount}} {{.State.Status}} {{with .State.Health}}{{.Status}}{{end}}' "$1") || return 1
        case $state in
        "0 running healthy") return 0 ;;
        # A large model loads longer than the health check waits, and is "unhealthy" meanwhile.
        "0 running "*) ;;
        *)
            say "$(name "$1") ended; the end of its log:"
            return 1
            ;;
        esac
        sleep 1
        left=$((left - 1))
    done
    say "$(name "$1") was not healthy after $wait_seconds s; the end of its log:"
    return 1
}

give_up() {
    trap '' INT TERM
    if [ -n "$new" ]; then
        docker logs --tail 5 "$new" >&2 || true
        docker stop "$new" >/dev/null || true
        docker rm "$new" >/dev/null || true
    fi
    say "$*; the replicas that are left go on"
    exit 1
}

docker compose "$@" rm --force "$service" >/dev/null # a stopped one would count as a replica
old=$(docker compose "$@" ps --quiet "$service")
[ -n "$old" ] || give_up "no replica of $service runs"
count=$(echo "$old" | wc -l)
replaced=0
trap 'give_up interrupted' INT TERM
for container in $old; do
    before=$(docker compose "$@" ps --quiet "$service")
    if ! docker compose "$@" up --detach --no-deps --no-recreate --no-build \
        --scale "$service=$((count + 1))" "$service"; then
        docker compose "$@" rm --force "$service" >/dev/null || true
        give_up "no new replica could be started, $replaced of $count replaced"
    fi
    new=$(added "$before" "$(docker compose "$@" ps --quiet "$service")")
    [ -n "$new" ] || give_up "the new replica ended at once, $replaced of $count replaced"
    becomes_healthy "$new" || give_up "$replaced of $count replaced"
    sleep "$settle_seconds"
    new=
    say "stopping $(name "$container")"
    docker stop "$container" >/dev/null
    docker rm "$container" >/dev/null
    replaced=$((replaced + 1))
done
say "$replaced of $count replicas replaced"
