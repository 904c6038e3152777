#!/usr/bin/env bash
# Measures everything that docs/BENCHMARKS.md shows, and rewrites the page: about 40 minutes, on a
# machine that does nothing else. Each part writes its own JSON as soon as it has something, is cut
# off when its time is over, and does not stop the others.
#
#   benchmarks/measure_all.sh              everything
#   benchmarks/measure_all.sh limits compare   only these parts
#
# Only by name, since each takes minutes and needs ANTIPHON_SPEECH (the page shows none of them yet):
# whisper (Whisper's parts beside CTranslate2), context (words of the shortened context), stability
# (rules for settling words), long-speech (ten minutes without a pause), oracle (tokens against
# CTranslate2's). More than one at a time wants a larger BUDGET_S (seconds in all).
set -u
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
antiphon=${ANTIPHON:-.venv/bin/antiphon}
out=${RESULTS:-benchmarks/results}
curve=${CURVE:-1,2,4,8,16,32} # speakers at once
talk=${TALK:-1,2,4,8,16}
few=${FEW:-1,4}
other=${OTHER:-1,4,16} # with the other way to run Whisper
budget_s=${BUDGET_S:-2400}
timing="--ramp 3 --warmup 3 --duration ${DURATION_S:-20} --drain 12"
parts=${*:-"limits continuous compare-stream final-time conversation compare latency first-token barge-in early-start profile continuous-ctranslate2 webm mixed churn simulation"}
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
	load continuous 420 --sessions "$curve" --find-capacity -- --llm echo
	# shellcheck disable=SC2086
	run compare-stream 330 "$antiphon" bench compare $timing --peers whisperlive-batch \
		--sessions "$curve" --stop-at-hopeless --output "$out/compare-stream.json"
	run simulation 60 "$python" -m benchmarks.simulate "$out/load-continuous.json" \
		"$out/simulation.json"
	run final-time 240 "$python" -m benchmarks.final_time "$out/final_time.json"
	load conversation 240 --profile conversation --sessions "$talk"
	# shellcheck disable=SC2086
	run compare 400 "$antiphon" bench compare $timing --sessions "$few" \
		--peers whisperlive,faster-whisper,faster-whisper-batched,whisper-cpp \
		--output "$out/compare.json"
	run latency 200 "$antiphon" bench latency --output "$out/latency.json"
	run first-token 60 "$python" -m benchmarks.first_token --out "$out/first_token.json"
	run barge-in 240 "$python" -m benchmarks.barge_in --rounds 12 --out "$out/barge_in.json"
	run early-start 480 "$python" -m benchmarks.early_start --out "$out/early_start.json" \
		--clips "${EARLY_CLIPS:-8}"
	load profile 60 --sessions "${PROFILE_SESSIONS:-8}" --py-spy -- --llm echo
	load continuous-ctranslate2 130 --sessions "$other" -- --llm echo --asr ctranslate2
	load webm 60 --sessions 4 --encoding webm -- --llm echo
	load mixed 80 --sessions 4 --profile mixed -- --llm echo
	load churn 60 --sessions 8 --profile churn -- --llm echo
	run whisper 600 "$python" -m benchmarks.whisper --out "$out/whisper.json"
	run context 900 "$python" -m benchmarks.context --asr torch --out "$out/context-torch.json"
	run stability 900 "$python" -m benchmarks.stability --out "$out/stability.json"
	run long-speech 900 "$python" -m benchmarks.long_speech --out "$out/long_speech.json"
	run oracle 900 "$python" -m benchmarks.oracle "$out/oracle.json"

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
