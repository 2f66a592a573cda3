#!/usr/bin/env bash
# Docker for this project: `start` gets it if it is missing and leaves it running; `with CMD…` runs a command with a
# daemon and stops the daemon afterwards if it was this script that started it. Says what it will do before it does it,
# and asks first when a person is at the keyboard.
set -euo pipefail

answers() { python3 - <<'PY' 2>/dev/null
import os, socket, sys
host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
if not host.startswith("unix://"):
    sys.exit(0)  # a remote daemon is the user's; the program will say if it does not answer
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
s.connect(host[len("unix://"):])
s.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
sys.exit(b"200" not in s.recv(64))
PY
}

missing() {
    command -v dockerd >/dev/null || echo docker.io
    command -v debootstrap >/dev/null || echo debootstrap
    command -v git >/dev/null || echo git
}

install() {
    local packages
    packages=$(missing)
    [ -n "$packages" ] || return 0
    # With a daemon that answers, here or elsewhere, nothing is needed at once; `verifactory doctor` names the rest.
    if answers && { [ "$packages" = docker.io ] || [ "$(id -u)" != 0 ]; }; then return 0; fi
    echo "verifactory: will run as root: apt-get install -y --no-install-recommends" $packages
    if [ "$(id -u)" != 0 ]; then
        echo "verifactory: you are not root; install these packages and start Docker, then run this again." >&2
        exit 1
    fi
    if [ -t 0 ]; then
        read -r -p "Go on? [Y/n] " answer
        case "$answer" in [nN]*) exit 1 ;; esac
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages iptables >/dev/null
}

# Sets `started` to the daemon's process id if it had to be started.
started=
ensure() {
    install
    answers && return 0
    if [ "$(id -u)" != 0 ]; then
        echo "verifactory: no Docker daemon answers; start one (or set DOCKER_HOST), then run this again." >&2
        exit 1
    fi
    if [ -d /run/systemd/system ] && command -v systemctl >/dev/null && systemctl start docker 2>/dev/null; then
        answers && return 0
    fi
    local log
    log=$(mktemp -t verifactory-dockerd-XXXXXX.log)  # a name that nobody can have put a link at
    echo "verifactory: starting dockerd (log: $log)"
    setsid dockerd >"$log" 2>&1 </dev/null &
    started=$!
    for _ in $(seq 60); do
        answers && return 0
        kill -0 "$started" 2>/dev/null || break
        sleep 1
    done
    echo "verifactory: dockerd did not come up; the end of its log says why:" >&2
    tail -n 5 "$log" >&2
    exit 1
}

stop() {
    [ -n "$started" ] || return 0
    kill "$started" 2>/dev/null || true
    for _ in $(seq 30); do
        kill -0 "$started" 2>/dev/null || return 0
        sleep 1
    done
}

case "${1:-}" in
    start)
        ensure
        [ -z "$started" ] || echo "verifactory: dockerd runs as process $started; stop it with: kill $started"
        ;;
    with)
        shift
        trap stop EXIT
        ensure
        "$@"
        ;;
    *)
        echo "usage: $0 start | with COMMAND…" >&2
        exit 2
        ;;
esac
