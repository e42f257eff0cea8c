#!/bin/sh
# run.sh SECONDS JSON: fuzzes the reader so long, beginning with the corpus, and writes how far it came.
# What makes it fail is left in build/fuzz/. Needs clang.
set -eu
seconds=$1 report=$2
engine=$(cd "$(dirname "$0")/.." && pwd)
work=$engine/../build/fuzz
mkdir -p "$work/corpus"
sources=$(for name in codes common decimal entry file graph inflate json meta names operations rans tensor; do echo "$engine/src/$name.c"; done)
clang -std=c11 -O1 -g -DSV_FUZZING -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
    -I"$engine/include" -I"$engine/src" $sources "$engine/fuzz/fuzz_file.c" -lm -o "$work/fuzz_file"
status=0
"$work/fuzz_file" "$work/corpus" "$engine/fuzz/corpus" -artifact_prefix="$work/" -dict="$engine/fuzz/words.dict" \
    -max_len=16384 -timeout=20 -rss_limit_mb=2048 -max_total_time="$seconds" -print_final_stats=1 2>"$work/log" || status=$?
python3 - "$work/log" "$report" "$seconds" "$status" <<'PYTHON'
import json, re, sys
log, report, seconds, status = open(sys.argv[1], errors="replace").read(), *sys.argv[2:]
last = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", log)[-1]
runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", log)
figures = {"seconds": int(seconds), "executions": int(runs[1]) if runs else None, "edges": int(last[0]),
           "features": int(last[1]), "inputs": int(last[2]), "failed": status != "0"}
open(report, "w").write(json.dumps(figures, indent=1) + "\n")
PYTHON
exit $status
