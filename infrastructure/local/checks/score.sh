#!/usr/bin/env bash
# Judges Midwatch by faults whose truth is known, and says how long that took.
#
#   SEED=n                 the fleet and its faults; drawn and printed if not set
#   SPEED_OF_ROUND=30      simulated seconds per second of the round of faults
#   QUIET_HOURS=6          simulated hours without any fault; 0 leaves them out
#   QUIET_SPEED=120        their speed
#   VIRTUAL=1 COUNT=50     the pure cores in virtual time, so many seeds in a row
#   TRIALS=200             seeded stories in virtual time: faults alone and two at
#                          once, red herrings, missing metrics, healthy controls;
#                          0 for none
#   REAL_TRIALS=6          so many of them through the real processes; 0 for none
#   CASE_SEEDS=3           fleets of the nine cases beyond the seven faults; 0 for none
#   QUIET_DAYS=7           simulated days with a daily rhythm and without a fault
#   SCORE_JSON=folder      where the results go as JSON
#
# Real processes by default: three runs of the whole stack, first a round of all
# seven faults on the fleet that the seed draws, then a sample of the stories,
# then the quiet stretch.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
cd "$root"
programs=target/debug
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
quiet_hours=${QUIET_HOURS:-6}
results=${SCORE_JSON:-.midwatch/score}
mkdir -p "$results"
begun=$SECONDS

if [ "${VIRTUAL:-0}" = 1 ]; then
    "$programs/midwatch-score" --virtual --seed "$seed" --count "${COUNT:-50}" \
        --quiet-hours "$quiet_hours" --json "$results/virtual-$seed.json"
else
    # The stack reads its options from the environment, too.
    unset SEED SPEED ONCE KILL SCENARIO RESCALE
    echo "seed $seed: a round of all seven faults, on real processes"
    "$programs/midwatch-stack" run --round --varied --seed "$seed" --speed "${SPEED_OF_ROUND:-30}" -- \
        "$programs/midwatch-score" --check --json "$results/round-$seed.json"
    if [ "${REAL_TRIALS:-6}" != 0 ]; then
        echo "seed $seed: ${REAL_TRIALS:-6} stories, on real processes"
        env SIM_TRIALS="${REAL_TRIALS:-6}" "$programs/midwatch-stack" run --varied --seed "$seed" \
            --speed "${SPEED_OF_ROUND:-30}" -- \
            "$programs/midwatch-score" --trials --check --json "$results/real-trials-$seed.json"
    fi
    if [ "$quiet_hours" != 0 ]; then
        echo "seed $seed: $quiet_hours simulated hours without a fault, on real processes"
        "$programs/midwatch-stack" run --quiet --varied --seed "$seed" --speed "${QUIET_SPEED:-120}" -- \
            "$programs/midwatch-score" --check --quiet-hours "$quiet_hours" --json "$results/quiet-$seed.json"
    fi
fi
trials=${TRIALS:-200}
if [ "$trials" != 0 ]; then
    echo "$trials stories from seed $seed on, in virtual time"
    "$programs/midwatch-score" --virtual --trials --check --seed "$seed" --count "$trials" \
        --json "$results/trials-$seed.json"
fi
case_seeds=${CASE_SEEDS:-3}
quiet_days=${QUIET_DAYS:-7}
if [ "$case_seeds" != 0 ]; then
    echo "seed $seed: cases beyond the seven faults and $quiet_days quiet days, in virtual time"
    "$programs/midwatch-score" --cases --check --seed "$seed" --count "$case_seeds" \
        --quiet-days "$quiet_days" --json "$results/cases-$seed.json"
fi
echo "score of seed $seed took $((SECONDS - begun)) s; results are in $results"
