"""Ask a gRPC server how it is: `python -m weir_kit.probe HOST:PORT [SERVICE]`.

For container health checks. Ends with 0 if the server (or the one service, by its full name) is
SERVING, else with 1 and a line that says why. Kubernetes' own `grpc:` probes ask the same.
"""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 3.0
SERVING = health_pb2.HealthCheckResponse.SERVING


def main(arguments: list[str]) -> int:
    """The exit status for the command line `arguments`."""
    if not 1 <= len(arguments) <= 2:
        sys.stderr.write("usage: python -m weir_kit.probe HOST:PORT [SERVICE]\n")
        return 2
    why_not = unhealthy_because(*arguments)
    if why_not:
        sys.stderr.write(f"{arguments[0]} is not healthy: {why_not}\n")
    return 1 if why_not else 0


def unhealthy_because(address: str, service: str = "") -> str:
    """Why the server at `address` does not serve; empty if it does. Waits `TIMEOUT_S` at most."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S
            )
        except grpc.RpcError as error:
            return f"{error.code().name} {error.details()}"
    if answer.status == SERVING:
        return ""
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
