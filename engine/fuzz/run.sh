#!/bin/sh
# run.sh SECONDS JSON [TARGET ...]: fuzzes so long with each target, file and model, beginning with what lies beside this,
# and adds how far it came to what JSON has. What makes a target fail is left in build/fuzz/. Needs clang.
set -eu
seconds=$1 report=$2
shift 2
engine=$(cd "$(dirname "$0")/.." && pwd)
work=$engine/../build/fuzz
status=0

fuzz() {                                 # TARGET SEEDS LARGEST
    mkdir -p "$work/$1"
    clang -std=c11 -O1 -g -DSV_FUZZING -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
        -I"$engine/include" -I"$engine/src" "$engine"/src/*.c "$engine"/src/kernels/*.c \
        "$engine/fuzz/input.c" "$engine/fuzz/fuzz_$1.c" -lm -o "$work/fuzz_$1"
    failed=0
    "$work/fuzz_$1" "$work/$1" "$engine/fuzz/$2" -artifact_prefix="$work/$1-" -dict="$engine/fuzz/words.dict" \
        -max_len="$3" -timeout=20 -rss_limit_mb=3000 -max_total_time="$seconds" -print_final_stats=1 \
        2>"$work/$1.log" || failed=1
    python3 "$engine/fuzz/record.py" "$work/$1.log" "$report" "$1" "$failed"
    status=$((status | failed))
}

for target in ${*:-file model}; do
    case $target in
        file) fuzz file corpus 16384 ;;
        model) fuzz model models 65536 ;;
        *) echo "run.sh: expected the targets file and model, got $target" >&2; exit 2 ;;
    esac
done
exit $status
