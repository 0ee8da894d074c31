#!/usr/bin/env bash
# Long proofs. First a storm in which correlation and the investigation are
# killed STORM_KILLS times each (50 if not said), now and then both at once, and
# must come to what they come to undisturbed (STORM_BROKER=tansu: on that
# broker). Then remediation is killed REMEDIATION_KILLS times (60 if not said)
# between intent, act and outcome, and no action may run twice or be forgotten;
# a step is approved and carried out while every agent is killed in turn; and
# each channel of communication is away for OUTAGE_S seconds (120 if not
# said) while incidents go on. Then, N times over (3 if not said; 0 leaves it at
# these), each time with another seed: every scenario with every agent killed and
# every agent scaled up and down, on both brokers in turn, and the score on real
# processes; then the pure cores on a hundred seeds and a hundred quiet hours
# for each N. Prints how long each took and fails at the first that fails,
# naming its seed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../../.."
rounds=${1:-3}
first=${SEED:-$((RANDOM * 32768 + RANDOM))}
unset SEED
scenarios=(LATENCY_SPIKE ERROR_RATE_SPIKE CPU_SATURATION MEMORY_LEAK
    DB_CONNECTION_EXHAUSTION KAFKA_CONSUMER_LAG DEPLOYMENT_FAILURE)
begun=$SECONDS

proof() { # WHAT COMMAND…
    local what=$1 since=$SECONDS log
    shift
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then
        printf '%5d s  passed  %s\n' $((SECONDS - since)) "$what"
        grep -E '^(faults|detected|right service|false|undisturbed|correlation killed|investigation killed|longest acts|[0-9]+ kills of|ended:)' "$log" | sed 's/^/                 /' || true
        rm -f "$log"
    else
        printf '%5d s  FAILED  %s\n' $((SECONDS - since)) "$what"
        tail -n 60 "$log"
        echo "soak failed after $((SECONDS - begun)) s; all its output is in $log"
        exit 1
    fi
}

kills=${STORM_KILLS:-50}
proof "$kills kills each of correlation and investigation in a storm, seed $first" \
    target/debug/midwatch-stack exec --with postgres,redis,kafka,tansu,vectors,embedder -- \
    env STORM_SEED="$first" STORM_KILLS="$kills" \
    cargo test --workspace --test storm -- --nocapture
acts=${REMEDIATION_KILLS:-60}
proof "$acts kills between intent, act and outcome, seed $first" \
    target/debug/midwatch-stack exec --with postgres -- \
    env REMEDIATION_SEED="$first" REMEDIATION_KILLS="$acts" \
    cargo test --workspace --test kills
outage=${OUTAGE_S:-120}
proof "a step approved, carried out and verified while every agent is killed, seed $first" \
    env ONCE=1 KILL=1 APPROVE=1 SEED="$first" target/debug/midwatch-stack run
proof "every channel away for $outage s while incidents go on" \
    target/debug/midwatch-stack exec --with postgres,kafka -- \
    env OUTAGE_S="$outage" cargo test -p midwatch-local --test channels
for ((round = 0; round < rounds; round++)); do
    seed=$((first + round))
    for index in "${!scenarios[@]}"; do
        scenario=${scenarios[$index]}
        broker=kafka
        if [ ! -d .midwatch/cache/kafka/libs ] || [ $(((round + index) % 2)) = 1 ]; then
            broker=tansu
        fi
        proof "$scenario, kills and scaling, $broker, seed $seed" \
            env ONCE=1 KILL=1 RESCALE=1 SEED=$seed SCENARIO="$scenario" BROKER=$broker \
            target/debug/midwatch-stack run
    done
    proof "score on real processes, seed $seed" env SEED=$seed "$here/score.sh"
done
if [ "$rounds" -gt 0 ]; then
    proof "score of the cores, $((100 * rounds)) seeds from $first" \
        env VIRTUAL=1 SEED="$first" COUNT=$((100 * rounds)) QUIET_HOURS=$((100 * rounds)) "$here/score.sh"
fi
echo "soak of $rounds rounds from seed $first took $((SECONDS - begun)) s"
