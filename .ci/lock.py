"""Write requirements.lock from pip's own resolution (`make lock` runs this)."""

import json
import re
import sys

HEADER = """\
# Exact versions of everything that runs and tests Antiphon; pyproject.toml has the ranges.
# Made by `make lock` on Python 3.11, from a clean resolution by pip; not to be edited by hand.
# torch is named without a local version: a CPU build is taken where the package index offers one,
# and elsewhere torch brings the CUDA libraries along as dependencies of its own.
"""


def main() -> None:
    report = json.load(sys.stdin)
    pins = set()
    for item in report["install"]:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        if name != "antiphon":
            pins.add(f"{name}=={item['metadata']['version'].partition('+')[0]}")
    print(HEADER + "\n".join(sorted(pins)))


if __name__ == "__main__":
    main()
