"""`python -m engine.scenarios NAME`: one scenario; its metrics as one line on stdout."""

import argparse
import asyncio
import dataclasses
import importlib
import json

from engine.contender import REPLY
from engine.scenarios import NAMES
from engine.weir import read_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--model", default=None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--setting", action="append", default=[])
    options = parser.parse_args()
    options.wishes = {"threads": options.threads} | read_settings(options.setting)
    scenario = importlib.import_module(f"engine.scenarios.{options.name}")
    metrics = asyncio.run(scenario.measure(options))
    print(REPLY + json.dumps([dataclasses.asdict(metric) for metric in metrics]), flush=True)


if __name__ == "__main__":
    main()
