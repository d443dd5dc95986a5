"""The parameters of calls that mean something here; others are for other servers, and passed over.

`binary_data` and its kin are among these: they tell HTTP what gRPC's raw contents tell anyway.
"""

from collections.abc import Mapping

from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_inference.core.request import Priority
from weir_inference.rpc.oip.refusal import refusal

Parameters = Mapping[str, pb.InferParameter]

NO_SHARED_MEMORY = "memory is not shared with clients: send the data in the message"
REFUSED = {
    "sequence_id": "models keep nothing between calls",
    "classification": "outputs are not ranked here: take the scores, and rank them",
    "shared_memory_region": NO_SHARED_MEMORY,
    "shared_memory_byte_size": NO_SHARED_MEMORY,
    "shared_memory_offset": NO_SHARED_MEMORY,
}
PRIORITIES = {0: Priority.NORMAL, 1: Priority.HIGH, 2: Priority.NORMAL, 3: Priority.LOW}


def check_parameters(parameters: Parameters, field: str) -> None:
    """Raises `InvalidArgument` for what is not done here and would change the answer."""
    for name, why in REFUSED.items():
        if name in parameters:
            raise refusal(f"{field}.{name}", why)


def priority_of(parameters: Parameters) -> Priority:
    """`priority`, 1 to 3; 0 or none is normal."""
    number = _number(parameters, "priority")
    if number not in PRIORITIES:
        raise refusal("parameters.priority", "1 (high), 2 (normal) or 3 (low); 0 is normal")
    return PRIORITIES[number]


def timeout_s_of(parameters: Parameters) -> float | None:
    """`timeout`, on the wire in microseconds; 0 or none is None."""
    timeout_us = _number(parameters, "timeout")
    if timeout_us < 0:
        raise refusal("parameters.timeout", "microseconds, at least 0 (none)")
    return timeout_us / 1e6 if timeout_us else None


def _number(parameters: Parameters, name: str) -> int:
    if name not in parameters:
        return 0
    kind = parameters[name].WhichOneof("parameter_choice")
    if kind not in ("int64_param", "uint64_param"):
        raise refusal(f"parameters.{name}", "give an int64_param or a uint64_param")
    return int(getattr(parameters[name], kind))
