#!/usr/bin/env bash
# `make demo`: in containers where a Docker engine answers, else as processes of
# this user. STACK=local or STACK=compose decides instead.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."

# These watch one fault to its end and judge it, which is the local stack's.
watched=${ONCE:-}${KILL:-}${RESCALE:-}${APPROVE:-}${SCALE:-}${MODEL:-}${BROKER:-}
answers() { command -v docker >/dev/null 2>&1 && timeout 5 docker info >/dev/null 2>&1; }

case ${STACK:-} in
local | compose) stack=$STACK ;;
'') if [ -z "$watched" ] && answers; then stack=compose; else stack=local; fi ;;
*)
    echo "STACK=$STACK is unknown; it is local or compose" >&2
    exit 2
    ;;
esac

if [ "$stack" = compose ]; then
    answers || {
        echo 'STACK=compose, but no Docker engine answers `docker info`; start one or use STACK=local' >&2
        exit 1
    }
    echo 'in containers (STACK=local runs it as processes instead)'
    exec docker compose up --build
fi
"$here/setup.sh" demo
cargo build --workspace --bins
exec target/debug/midwatch-stack run
