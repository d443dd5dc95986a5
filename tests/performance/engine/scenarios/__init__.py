"""What the engine promises beside speed, each measured in a process of its own."""

import json
import os
import subprocess
import sys
from argparse import Namespace

from engine.contender import REPLY
from engine.disturbance import Disturbance
from engine.metrics import Metric
from engine.paths import PERFORMANCE

NAMES = ("prefix", "fairness", "cancels", "trace", "quantization", "speculation")
WITHIN_S = 600.0


class ScenarioFailed(Exception):
    """A scenario did not come to its end; the message says why."""


def run(name: str, options: Namespace) -> list[Metric]:
    """Measure one scenario."""
    arguments = [name, "--threads", str(options.threads), "--scale", str(options.scale)]
    arguments += [f"--setting={one}" for one in options.setting]
    if options.scenario_model:
        arguments += ["--model", options.scenario_model]
    paths = [str(PERFORMANCE), os.environ.get("PYTHONPATH", "")]
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": str(options.threads),
    }
    disturbance = Disturbance([os.getpid()])  # an ended child counts as its parent
    try:
        done = subprocess.run(
            [sys.executable, "-m", "engine.scenarios", *arguments],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ScenarioFailed(f"took longer than {WITHIN_S:.0f} s") from None
    replies = [line for line in done.stdout.splitlines() if line.startswith(REPLY)]
    if done.returncode or not replies:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ScenarioFailed(f"{last[:300]} (status {done.returncode})")
    print(f"  others on {disturbance.cores():.1f} cores", flush=True)
    return [Metric(**fields) for fields in json.loads(replies[-1].removeprefix(REPLY))]
