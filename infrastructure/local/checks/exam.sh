#!/usr/bin/env bash
# Examines the detector's statistics on labelled series, all of them interleaved
# under anonymous names through `midwatch detect`, next to two classic ones.
#
#   SEED=n                 the series; drawn and printed if not set
#   PER_FAMILY=8           series of each family and set
#   PROGRAMS=target/debug  where the programs are; target/release is faster
#
# Two sets: one from the generator that the detector's constants were chosen on,
# one from a generator that took no part in that. 0 is what a detector gets that
# flags nothing, 100 is every window flagged at its beginning and nothing else;
# a false alarm costs a ninth of a missed window (simulator/series/src/score.rs).
# `own` goes by is_anomaly, `best` by the one threshold over the score that
# turns out best for the whole set.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
cd "$root"
programs=${PROGRAMS:-target/debug}
per_family=${PER_FAMILY:-8}
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
begun=$SECONDS

for program in midwatch midwatch-series midwatch-holdout; do
    if [ ! -x "$programs/$program" ]; then
        echo "there is no $programs/$program; run make build, or say PROGRAMS=folder" >&2
        exit 1
    fi
done
folder=$(mktemp -d "${TMPDIR:-/tmp}/midwatch-exam.XXXXXX")
trap 'rm -rf "$folder"' EXIT

# examine WHAT GENERATOR: prints the table of one set.
examine() {
    local series=$folder/series samples=$folder/samples
    "$programs/$2" generate --seed "$seed" --per-family "$per_family" --out "$series"
    "$programs/midwatch-series" interleave --series "$series" --out "$samples"
    local started ended lines
    started=$(date +%s%N)
    "$programs/midwatch" detect < "$samples" > "$folder/midwatch"
    ended=$(date +%s%N)
    lines=$(wc -l < "$samples")
    for kind in zscore gaussian; do
        "$programs/midwatch-series" baseline --kind "$kind" --samples "$samples" --out "$folder/$kind"
    done
    echo
    echo "$1, seed $seed"
    "$programs/midwatch-series" compare --series "$series" \
        "midwatch detect=$folder/midwatch" \
        "z-score of 50 at 2.5=$folder/zscore" \
        "normal tail of 6400=$folder/gaussian"
    echo "midwatch detect: $lines lines at $((lines * 1000000000 / (ended - started))) a second"
}

examine 'series of the kind that the constants were chosen on' midwatch-series
examine 'series of a kind that nothing was chosen on' midwatch-holdout
echo
echo "own: by is_anomaly; best: by the best single threshold; found: part of the windows; false: alarms a series"
echo "the exam of seed $seed took $((SECONDS - begun)) s"
