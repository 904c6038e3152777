#!/usr/bin/env bash
# Measures what docs/BENCHMARKS.md shows, and rewrites the page: about 65 minutes (80 at most), on a
# machine that does nothing else. Each part writes its own JSON as soon as it has something, is cut
# off when its time is over, and does not stop the others.
#
#   benchmarks/measure_all.sh              everything that depends on the load
#   benchmarks/measure_all.sh limits compare   only these parts
#
# Only by name, since they change with the models and not with the server, take minutes each, and
# need ANTIPHON_SPEECH: whisper, context, stability, long-speech, oracle; and media.
set -u
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
antiphon=${ANTIPHON:-.venv/bin/antiphon}
out=${RESULTS:-benchmarks/results}
curve=${CURVE:-1,2,4,8,16,32} # speakers at once
ours=${OURS:-$curve,64}       # with this server alone
talk=${TALK:-1,4,8,16}
few=${FEW:-1,4}
other=${OTHER:-1,4,16} # with the other way to run Whisper
if [ $# -gt 0 ]; then budget_s=${BUDGET_S:-7200}; else budget_s=${BUDGET_S:-4800}; fi
# few speakers are measured for longer, until there are enough turns for a median
timing="--ramp 3 --warmup 3 --duration ${DURATION_S:-20} --drain 12 --turns ${TURNS:-8}"
parts=${*:-"limits continuous continuous-avx2 final-time-avx2 overload overload-avx2 profile compare-stream simulation final-time conversation compare latency first-token barge-in early-start continuous-ctranslate2 webm mixed bursty churn"}
failed=""
mkdir -p "$out" .benchmarks

# run NAME SECONDS COMMAND…: interrupted after so long, so that servers are stopped in good order.
run() {
	local name=$1 limit_s=$2 began=$SECONDS left_s
	shift 2
	case " $parts " in *" $name "*) ;; *) return ;; esac
	left_s=$((budget_s - SECONDS))
	if [ "$left_s" -lt 30 ]; then
		failed="$failed $name(no-time)"
		return
	fi
	[ "$left_s" -lt "$limit_s" ] && limit_s=$left_s
	echo "== $name (at most $limit_s s, $left_s s left)"
	timeout --signal INT --kill-after 20 "$limit_s" "$@" >".benchmarks/$name.log" 2>&1
	local status=$?
	tail -n 30 ".benchmarks/$name.log"
	echo "== $name: status $status after $((SECONDS - began)) s"
	# 1: not every load was carried, which is a result
	if [ "$status" -gt 1 ] || grep -q '^Traceback' ".benchmarks/$name.log"; then
		failed="$failed $name($status)"
	fi
}

# load NAME SECONDS ARGUMENTS…: the report goes beside the log, the JSON to the results.
load() {
	local name=$1 limit_s=$2
	shift 2
	# shellcheck disable=SC2086
	run "$name" "$limit_s" "$antiphon" bench load $timing --output ".benchmarks/load-$name.json" "$@"
	[ -f ".benchmarks/load-$name.json" ] && cp ".benchmarks/load-$name.json" "$out/"
}

# carried NAME: how many sessions that load found to be carried, or 8.
carried() {
	"$python" - "$out/${1:-load-continuous}.json" 2>/dev/null <<-'EOF' || echo 8
		import json, sys
		print(json.load(open(sys.argv[1]))["capacity"]["sessions"] or 1)
	EOF
}

# as .ci/run finds it; without it, the few embedded phrases are spoken
if [ -z "${ANTIPHON_SPEECH:-}" ] && [ -d ../shared/speech ]; then
	ANTIPHON_SPEECH=$(cd ../shared/speech && pwd)
	export ANTIPHON_SPEECH
fi
rm -f .benchmarks/load-*.json
"$antiphon" models pull --all || exit 1
"$antiphon" bench compare --install-only

measure() {
	run limits 60 "$python" -m benchmarks.limits "$out/limits.json"
	load continuous 600 --sessions "$ours" --find-capacity -- --llm echo --latency-target-s 0
	ANTIPHON_ISA=avx2 load continuous-avx2 500 --sessions "${AVX2:-1,4,8,16}" --find-capacity \
		-- --llm echo --latency-target-s 0
	ANTIPHON_ISA=avx2 run final-time-avx2 240 "$python" -m benchmarks.final_time \
		"$out/final_time-avx2.json"
	load overload 90 --sessions "$((4 * $(carried load-continuous)))" --ramp 10 -- --llm echo
	ANTIPHON_ISA=avx2 load overload-avx2 90 --sessions "$((4 * $(carried load-continuous-avx2)))" \
		--ramp 10 -- --llm echo
	load profile 70 --sessions "${PROFILE_SESSIONS:-$(carried)}" --py-spy -- --llm echo
	# shellcheck disable=SC2086
	run compare-stream 540 "$antiphon" bench compare $timing --peers whisperlive-batch \
		--sessions "$curve" --output "$out/compare-stream.json"
	run simulation 60 "$python" -m benchmarks.simulate "$out/load-continuous.json" \
		"$out/simulation.json"
	run final-time 240 "$python" -m benchmarks.final_time "$out/final_time.json"
	load conversation 300 --profile conversation --sessions "$talk" --turns 6 -- --latency-target-s 0
	# shellcheck disable=SC2086
	run compare 660 "$antiphon" bench compare $timing --sessions "$few" \
		--peers whisperlive,faster-whisper,faster-whisper-batched,whisper-cpp \
		--output "$out/compare.json"
	run latency 200 "$antiphon" bench latency --output "$out/latency.json"
	run first-token 60 "$python" -m benchmarks.first_token --out "$out/first_token.json"
	run barge-in 300 "$python" -m benchmarks.barge_in --rounds 12 --out "$out/barge_in.json"
	run early-start 480 "$python" -m benchmarks.early_start --out "$out/early_start.json" \
		--clips "${EARLY_CLIPS:-8}"
	load continuous-ctranslate2 210 --sessions "$other" -- --llm echo --asr ctranslate2
	load webm 60 --sessions 4 --encoding webm -- --llm echo
	load mixed 150 --sessions 4 --profile mixed --turns 18 -- --llm echo
	load bursty 80 --sessions 8 --profile bursty -- --llm echo
	load churn 60 --sessions 8 --profile churn -- --llm echo

	run whisper 600 "$python" -m benchmarks.whisper --out "$out/whisper.json"
	run context 1500 "$python" -m benchmarks.context --asr torch --out "$out/context-torch.json"
	run context 900 "$python" -m benchmarks.context --asr ctranslate2 \
		--out "$out/context-ctranslate2.json"
	run stability 900 "$python" -m benchmarks.stability --clips 24 --out "$out/stability.json"
	run long-speech 900 "$python" -m benchmarks.long_speech --out "$out/long_speech.json"
	run oracle 900 "$python" -m benchmarks.oracle "$out/oracle.json"
	run media 300 "$python" -m benchmarks.media --output "$out/media.json"

	"$python" -m benchmarks.page --results "$out" --page "${PAGE:-docs/BENCHMARKS.md}" ||
		failed="$failed page"
	echo "took $SECONDS s"
	if [ -n "$failed" ]; then
		echo "not measured:$failed" >&2
		exit 1
	fi
}

# Read whole before it begins, so that the file may change while it runs.
measure
exit
