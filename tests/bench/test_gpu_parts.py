"""Parts and their file: each by itself, none lost, and no machine's figures among another's."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import cuda_tests, result
from benchmarks.gpu.bench import Bench, Record
from benchmarks.gpu.part import _watched, run
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.shapes import SMALL


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything, once, as far as a CPU goes."""
    out = tmp_path_factory.mktemp("gpu") / "quick.json"
    assert command.main(["--device", "cpu", "--quick", "--out", str(out)]) == 0
    assert [path.name for path in out.parent.iterdir()] == ["quick.json"]
    found: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return found


def test_every_part_runs_or_says_why_not(quick: dict[str, Any]) -> None:
    assert list(quick["parts"]) == list(PARTS)
    for name, part in quick["parts"].items():
        if PARTS[name].needs_cuda:
            assert part["status"] == "skipped"
            assert "needs CUDA" in part["reason"]
        else:
            assert part["status"] == "measured", part
            assert part["rows"]
            assert not [row for row in part["rows"] if "error" in row or "errors" in row]


def test_a_cpus_figures_are_a_cpus(quick: dict[str, Any]) -> None:
    machines = [part["machine"] for part in quick["parts"].values() if "machine" in part]
    assert len(machines) == 5
    for machine in machines:
        assert machine["type"] == "cpu"
        assert machine["quick"]
        assert "cuda" not in machine
        assert "cores" in machine["device"]
        assert {"torch", "triton", "python", "date"} <= machine.keys()
    assert quick["machine"] == {key: machines[0][key] for key in result.SAME}


def test_what_the_rows_hold(quick: dict[str, Any]) -> None:
    rows = {name: part.get("rows", []) for name, part in quick["parts"].items()}
    assert {row["operation"] for row in rows["kernels"]} == {
        "log_mel", "paged_attention", "slot_attention", "token_pick",
    }  # fmt: skip
    assert all("torch" in row["us"] for row in rows["kernels"])
    assert [(row["model"], row["batch"]) for row in rows["encoder"]] == [
        (SMALL.name, 1), (SMALL.name, 4),
    ]  # fmt: skip
    assert [(row["variant"], row["batch"]) for row in rows["decoder"]] == [
        ("torch", 1), ("torch", 4),
    ]  # fmt: skip
    assert {"torch", "engine"} <= rows["vad"][0]["ms"].keys()
    capacity = quick["parts"]["capacity"]
    loads = {row["speakers"] for row in capacity["rows"]}
    assert capacity["carried"].keys() == {SMALL.name}
    assert capacity["carried"][SMALL.name] in loads | {0}
    # on a slow machine a trial may be hopeless; what was answered, was answered once
    assert all(row["doubled"] == row["failed"] == 0 for row in capacity["rows"])


def test_a_part_that_fails_says_why_and_one_that_takes_too_long_is_stopped() -> None:
    said: list[str] = []
    wrong = run("encoder", Bench("cpu", models=("no such",)), 60, said.append, lambda part: None)
    assert wrong["status"] == "failed"
    assert "KeyError: 'no such'" in wrong["error"]
    assert any("Traceback" in line for line in said)
    late = run("vad", Bench("cpu"), 0.05, said.append, lambda part: None)
    assert late["status"] == "failed"
    assert late["error"] == "stopped after 0 s"


def test_what_a_part_started_ends_with_it() -> None:
    """The pipe is read until nobody holds it: what lives on would have its say."""
    command = ["sh", "-c", "(sleep 5; echo still here) & echo begun; wait"]
    code, said, late = _watched(command, 1.0, lambda line: None)
    assert (code, list(said), late) == (-signal.SIGKILL, ["begun"], True)


def test_an_error_is_a_row_unless_it_has_spoilt_the_device() -> None:
    kept: list[dict[str, Any]] = []
    record = Record(kept.append)

    def fail(why: str) -> dict[str, Any]:
        raise RuntimeError(why)

    assert record.attempt({"batch": 1}, lambda: {"ms": 1.0})
    assert not record.attempt({"batch": 2}, lambda: fail("out of\nmemory"))
    with pytest.raises(RuntimeError):
        record.attempt({"batch": 4}, lambda: fail("CUDA error: an illegal memory access"))
    assert record.rows == [
        {"batch": 1, "ms": 1.0},
        {"batch": 2, "error": "RuntimeError: out of memory"},
        {"batch": 4, "error": "RuntimeError: CUDA error: an illegal memory access"},
    ]
    assert len(kept) == 3, "written anew after each row"


def test_a_file_holds_one_device_and_parts_measured_later_join_it(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    h100 = {"device": "H100", "type": "cuda", "quick": False, "date": "2026-01-02"}
    one = {"status": "measured", "machine": h100, "rows": [{"a": 1}, {"b": {"c": 2}}]}
    found = result.read(out)
    result.add(found, "vad", one)
    result.write(found, out)
    again = result.read(out)
    result.add(again, "tests", {"status": "skipped", "reason": "nothing there"})
    result.add(again, "encoder", one | {"machine": h100 | {"date": "2026-01-03"}})
    result.write(again, out)
    assert result.read(out) == again
    assert list(again["parts"]) == ["vad", "tests", "encoder"]
    assert again["parts"]["vad"] == one
    for other in ({"device": "H200"}, {"type": "cpu"}, {"quick": True}):
        with pytest.raises(result.OtherMachine, match="name another --out"):
            result.add(again, "vad", one | {"machine": h100 | other})
    assert again["parts"]["vad"] == one


def test_pytests_report_is_kept_in_short(tmp_path: Path) -> None:
    tests = tmp_path / "test_some.py"
    tests.write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert 1 == 2, 'not so'\n"
        "def test_broken(nothing): pass\n"
        "@pytest.mark.skip\n"
        "def test_left_out(): pass\n"
    )
    row = cuda_tests.run_suite([str(tests)])
    assert {key: row[key] for key in ("passed", "failed", "broken", "skipped")} == {
        "passed": 1, "failed": 1, "broken": 1, "skipped": 1,
    }  # fmt: skip
    names = [one["test"].rpartition("::")[2] for one in row["failures"]]
    assert sorted(names) == ["test_bad", "test_broken"]
    assert any("not so" in one["says"] for one in row["failures"])


def test_the_suites_are_there() -> None:
    paths = [word for words in cuda_tests.SUITES.values() for word in words if "/" in word]
    assert paths
    assert all((cuda_tests.ROOT / path).is_dir() for path in paths)


def test_what_is_not_known_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--only", "vad,no"], ["--models", "no"], ["--batches", "0"]):
        with pytest.raises(SystemExit):
            command.parse(["--out", "x.json", *words])
    assert "there are tests, kernels" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.parse(["--help"])
    told = capsys.readouterr().out
    assert all(name in told and part.says in told for name, part in PARTS.items())
