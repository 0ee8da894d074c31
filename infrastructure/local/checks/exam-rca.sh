#!/usr/bin/env bash
# Examines the investigator on recorded faults of simulated services, through
# `midwatch investigate` as anybody would call it.
#
#   SEED=n                 the recordings; drawn and printed if not set
#   COUNT=112              recordings of each set; a multiple of 28 draws every
#                          format and class of fault equally often
#   PROGRAMS=target/debug  where the programs are
#
# Two sets: one from the generator that the investigator's rules were weighed on,
# one from a generator that took no part in that. Only sums are printed of the
# second, so that nobody mends single cases of it. Needs about 1 GB in TMPDIR.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../../.."
programs=${PROGRAMS:-target/debug}
count=${COUNT:-112}
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
begun=$SECONDS

for program in midwatch midwatch-recordings midwatch-holdout; do
    if [ ! -x "$programs/$program" ]; then
        echo "there is no $programs/$program; run make build, or say PROGRAMS=folder" >&2
        exit 1
    fi
done
folder=$(mktemp -d "${TMPDIR:-/tmp}/midwatch-exam-rca.XXXXXX")
trap 'rm -rf "$folder"' EXIT

echo "recordings of the kind that the rules were weighed on, seed $seed"
"$programs/midwatch-recordings" generate --seed "$seed" --count "$count" --out "$folder/seen"
"$programs/midwatch-recordings" score "$folder/seen" --investigate "$programs/midwatch"
rm -rf "$folder/seen"
echo
echo "recordings of another generator (seeds from 105 on are unseen by the rules), seed $seed"
"$programs/midwatch-holdout" recordings --seed "$seed" --count "$count" --out "$folder/unseen"
"$programs/midwatch-holdout" recordings-score "$folder/unseen" --investigate "$programs/midwatch"
echo
echo "the exam of seed $seed took $((SECONDS - begun)) s"
