"""What is shipped to run Antiphon elsewhere: container, compose file, dashboard and alerts."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from prometheus_client import REGISTRY

import server.metrics  # noqa: F401 - with it the engine's; both register what they count
from server.config import Settings
from server.http import Http
from server.sources import variable

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile.cuda").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
DASHBOARD: dict[str, Any] = json.loads(
    (ROOT / "deploy/grafana/dashboards/antiphon.json").read_text()
)
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
PAGE = (ROOT / "docs/DEPLOYMENT.md").read_text()
SOURCES = "\n".join(
    path.read_text() for package in ("engine", "server") for path in (ROOT / package).rglob("*.py")
)


def dashboard_queries() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def alert_queries() -> list[str]:
    return [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]


def page_queries() -> list[str]:
    return re.findall(r"^```promql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def exported() -> set[str]:
    """Every name that a sample of ours may have."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
    return {
        family.name + suffix
        for family in REGISTRY.collect()
        for suffix in suffixes.get(family.type, [""])
    }


@pytest.mark.parametrize("queries", [dashboard_queries, alert_queries, page_queries])
def test_queries_ask_for_what_is_exported(queries: Any) -> None:
    asked = {name for query in queries() for name in re.findall(r"\bantiphon_\w+", query)}
    assert asked
    assert asked - exported() == set()


@pytest.mark.parametrize("queries", [dashboard_queries, alert_queries, page_queries])
def test_label_values_are_those_of_the_sources(queries: Any) -> None:
    """A stage, queue, kind or code that nothing sets would be a panel that stays empty."""
    values = {
        value
        for query in queries()
        for group in re.findall(r'\b(?:stage|queue|kind|code)=~?"([^"]+)"', query)
        for value in group.split("|")
    }
    assert values
    assert {value for value in values if f'"{value}"' not in SOURCES} == set()


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_every_panel_and_alert_says_what_it_is() -> None:
    assert all(panel["title"] and panel["description"] for panel in DASHBOARD["panels"])
    names = {rule["alert"] for group in ALERTS["groups"] for rule in group["rules"]}
    assert {name for name in names if f"`{name}`" not in PAGE} == set()


# ---- the container ---------------------------------------------------------------------------


def copied() -> Iterator[str]:
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        yield from line.split()[:-1]


def test_what_the_container_copies_exists_and_is_let_through() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    assert set(copied()) == allowed
    assert all((ROOT / name).exists() for name in allowed)


def test_images_are_of_exact_versions() -> None:
    stages = set(re.findall(r"^FROM .+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    images = [name for name in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
              if name not in stages]  # fmt: skip
    assert len(set(images)) == 1, "one system for all stages"
    images += [s["image"] for s in COMPOSE["services"].values() if "build" not in s]
    assert len(images) == 4
    assert [name for name in images if not re.search(r":v?\d+\.\d+", name)] == []


def test_the_container_runs_as_nobody_in_particular() -> None:
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.+)$", final, re.MULTILINE) == ["10001:10001"]
    assert "STOPSIGNAL SIGTERM" in final
    assert re.search(r'^ENTRYPOINT \["antiphon"\]$', final, re.MULTILINE), "a shell between"


def test_the_containers_settings_exist() -> None:
    named = set(re.findall(r"\b(ANTIPHON_\w+)=", DOCKERFILE))
    assert named
    assert named - {variable(name) for name in Settings.model_fields} == set()


def test_the_container_asks_for_health_where_there_is_an_answer() -> None:
    (path,) = re.findall(r"HEALTHCHECK(?s:.*?)127\.0\.0\.1:8000(/\w+)", DOCKERFILE)
    assert path in Http(None, None, None, {})._routes  # type: ignore[arg-type]
    assert "ANTIPHON_PORT=8000" in DOCKERFILE


@pytest.mark.parametrize("service", ["models", "antiphon"])
def test_the_service_may_write_to_its_volume_only(service: str) -> None:
    definition = COMPOSE["services"][service]
    assert definition["read_only"] is True
    assert definition["cap_drop"] == ["ALL"]
    assert definition["volumes"] == ["models:/data"]


def test_the_service_has_the_gpu_limits_and_time_to_drain() -> None:
    service = COMPOSE["services"]["antiphon"]
    resources = service["deploy"]["resources"]
    assert resources["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    assert resources["limits"]["memory"]
    drain_s = Settings.model_fields["drain_timeout_s"].default
    assert int(service["stop_grace_period"].removesuffix("s")) > drain_s + 5


def test_metrics_are_a_choice() -> None:
    profiles = {name: s.get("profiles") for name, s in COMPOSE["services"].items()}
    assert profiles == {
        "models": None,
        "antiphon": None,
        "prometheus": ["metrics"],
        "grafana": ["metrics"],
    }


def test_ports_are_open_on_this_machine_only() -> None:
    ports = [port for s in COMPOSE["services"].values() for port in s.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


# ---- the lock --------------------------------------------------------------------------------


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_both_locks_agree() -> None:
    cpu, cuda = pins("requirements.lock"), pins("requirements-cuda.lock")
    shared = cpu.keys() & cuda.keys()
    assert "torch" in shared
    assert {n: (cpu[n], cuda[n]) for n in shared if cpu[n] != cuda[n]} == {}


def test_the_containers_lock_holds_all_that_runs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["cuda"]]
    locked = pins("requirements-cuda.lock")
    for requirement in map(Requirement, wanted):
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_exllamav2_is_compiled_by_the_cuda_that_is_locked() -> None:
    """``cuda-toolkit`` names exact versions of all its parts, the compiler's too."""
    (command,) = re.findall(r"pip install (.*cuda-toolkit.*?) \\\n", DOCKERFILE)
    assert command.startswith("--constraint /build/requirements-cuda.lock ")
    assert "cuda-toolkit" in pins("requirements-cuda.lock")


def test_the_lock_is_resolved_for_the_containers_python() -> None:
    (version,) = re.findall(r'^PYTHON = "([\d.]+)"', (ROOT / ".ci/cuda_lock.py").read_text(), re.M)
    assert set(re.findall(r"/python(\d\.\d+)/", DOCKERFILE)) == {version}


def test_defaults_named_on_the_page_are_the_real_ones() -> None:
    for name, value in re.findall(r"`(\w+)` \(default ([\d.]+)\)", PAGE):
        assert float(Settings.model_fields[name].default) == float(value), name
