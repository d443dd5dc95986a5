"""Bare onnxruntime in a process of its own: `python -m models.bare FILE ROUND_S`; prints JSON.

The best fixed batch in a loop, and the median of single rows: what no server can beat.
"""

import json
import statistics
import sys
import time

import onnxruntime

from models.rows import rows

BATCHES = (1, 2, 4, 8, 16, 32)


def main() -> None:
    file, round_s = sys.argv[1], float(sys.argv[2])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(file, options)
    rates, p50_ms = {}, 0.0
    for batch in BATCHES:
        inputs = rows(session, batch)
        session.run(None, inputs)
        spent_s, deadline_s = [], time.perf_counter() + round_s
        while time.perf_counter() < deadline_s:
            began_s = time.perf_counter()
            session.run(None, inputs)
            spent_s.append(time.perf_counter() - began_s)
        rates[batch] = batch * len(spent_s) / sum(spent_s)
        if batch == 1:
            p50_ms = 1000 * statistics.median(spent_s)
    best = max(rates, key=rates.__getitem__)
    print(json.dumps({"rows_s": rates[best], "batch": best, "p50_ms": p50_ms}))


if __name__ == "__main__":
    main()
