"""`weir doctor`: what is installed, what runs, and whether it is well."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import typer

from weir_cli import machine, memory
from weir_cli.admin import TIMEOUT_S, Admin, admin
from weir_cli.ledger import ledger_sums
from weir_cli.screen import AsJson, money, out, print_json, print_table
from weir_cli.stack import state
from weir_cli.stack.home import Home, home_of
from weir_cli.stack.services import serving
from weir_contracts.inference.v1 import inference_pb2, inference_pb2_grpc
from weir_contracts.policy.v1 import audit_pb2, audit_pb2_grpc
from weir_kit.errors import WeirError
from weir_kit.status import from_rpc_error

Findings = dict[str, Any]


def doctor(as_json: AsJson = False) -> None:
    """Examine the installation and the running stack. Exit code 1 if something is wrong."""
    home = home_of()
    found: Findings = {
        "home": str(home.folder),
        "versions": machine.versions(),
        "machine": machine.resources(home.folder),
        "stack": asyncio.run(_stack(home)) if state.running(home) else None,
    }
    if as_json:
        print_json(found)
    else:
        _show(found)
    if found["stack"] and not found["stack"]["ok"]:
        raise typer.Exit(1)


async def _stack(home: Home) -> Findings:
    async with admin(home) as stack:
        processes = _processes(stack)
        health: dict[str, bool] = {
            service: await serving(address) for service, address in stack.stack.addresses.items()
        }
        load, ledger, audit = parts = await asyncio.gather(
            _checked(_load(stack)), _checked(ledger_sums(stack)), _checked(_audit(stack))
        )
        return {
            "mode": stack.stack.mode,
            "http_url": stack.stack.http_url,
            "grpc_address": stack.stack.grpc_address,
            "model": stack.stack.model,
            "processes": processes,
            "rss_mb": round(sum(process["rss_mb"] for process in processes), 1),
            "health": health,
            "inference": load,
            "ledger": ledger,
            "audit": audit,
            "ok": all(health.values()) and all(part["ok"] for part in parts),
        }


def _processes(stack: Admin) -> list[Findings]:
    found: list[Findings] = [
        {
            "name": process.name,
            "pid": process.pid,
            "services": list(process.services),
            "rss_mb": memory.megabytes([process.pid]),
        }
        for process in stack.stack.processes
    ]
    # The supervisor is the others' parent: its own share is its tree's less theirs.
    supervisor = stack.stack.supervisor
    rest = memory.megabytes([supervisor.pid]) - sum(process["rss_mb"] for process in found)
    own = {"name": supervisor.name, "pid": supervisor.pid, "services": [], "rss_mb": round(rest, 1)}
    return [own, *found]


async def _checked(check: Awaitable[Findings]) -> Findings:
    """A check's findings, or its error as one."""
    try:
        return await check
    except WeirError as error:
        return {"ok": False, "error": error.message}
    except grpc.aio.AioRpcError as error:
        return {"ok": False, "error": from_rpc_error(error).message}


async def _load(stack: Admin) -> Findings:
    stub = inference_pb2_grpc.InferenceServiceStub(stack.channel("inference"))
    load = await stub.GetLoad(inference_pb2.GetLoadRequest(), timeout=TIMEOUT_S)
    return {
        "ok": True,
        "queued_requests": load.queued_requests,
        "running_requests": load.running_requests,
        "kv_blocks_used": load.kv_blocks_used,
        "kv_blocks_total": load.kv_blocks_total,
    }


async def _audit(stack: Admin) -> Findings:
    stub = audit_pb2_grpc.AuditServiceStub(stack.channel("policy"))
    found = await stub.VerifyAuditLog(audit_pb2.VerifyAuditLogRequest(), timeout=TIMEOUT_S)
    return {
        "ok": found.first_bad_sequence == 0,
        "records": found.records,
        "first_bad_sequence": found.first_bad_sequence,
    }


def _show(found: Findings) -> None:
    has = found["machine"]
    for name, version in found["versions"].items():
        out.print(f"{name:<12}{version}", markup=False)
    out.print(f"\nmachine     {has['system']}")
    out.print(f"processors  {has['cpus']}, load {has['load'][0]}")
    out.print(f"memory      {has['memory_available_mb']} of {has['memory_mb']} MB available")
    out.print(f"accelerator {'; '.join(has['gpus']) or 'none'}")
    out.print(f"home        {found['home']}, {has['home_mb']} MB, {has['disk_free_mb']} MB free")
    if found["stack"] is None:
        out.print("\nno stack runs here; start one with `weir up`")
        return
    _show_stack(found["stack"])


def _show_stack(stack: Findings) -> None:
    out.print(f"\nstack       {stack['mode']}, {stack['http_url']}, gRPC {stack['grpc_address']}")
    out.print(f"model       {stack['model']}\n")
    rows = [
        (one["name"], one["pid"], ", ".join(one["services"]) or "-", f"{one['rss_mb']:.1f}")
        for one in stack["processes"]
    ]
    print_table(("process", "pid", "services", "MB"), [*rows, ("total", "", "", stack["rss_mb"])])
    out.print()
    for service, healthy in stack["health"].items():
        out.print(f"{service:<12}{'serving' if healthy else '[red]not serving[/]'}")
    out.print(f"\nKV blocks   {_said(stack['inference'], _blocks)}")
    out.print(f"ledger      {_said(stack['ledger'], _sums)}")
    out.print(f"audit log   {_said(stack['audit'], _links)}")


def _said(part: Findings, say: Callable[[Findings], str]) -> str:
    return f"[red]{part['error']}[/]" if "error" in part else say(part)


def _blocks(load: Findings) -> str:
    return (
        f"{load['kv_blocks_used']} of {load['kv_blocks_total']} in use; "
        f"{load['running_requests']} running, {load['queued_requests']} queued"
    )


def _sums(ledger: Findings) -> str:
    sums = ", ".join(money(nanos, currency) for currency, nanos in ledger["sums_nanos"].items())
    return f"{ledger['entries']} entries sum to {sums}{'' if ledger['ok'] else ' [red]WRONG[/]'}"


def _links(audit: Findings) -> str:
    if audit["ok"]:
        return f"{audit['records']} records, the chain holds"
    return f"[red]broken at record {audit['first_bad_sequence']}[/]"
