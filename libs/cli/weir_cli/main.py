"""The `weir` command: the menu, and how commands end."""

import os
import sys
import traceback

import typer

from weir_cli.commands import (
    adapters,
    billing,
    chat,
    demo,
    doctor,
    evaluate,
    explain,
    infer,
    keys,
    models,
    prices,
    tenants,
    trace,
    up,
)
from weir_cli.failure import Failure
from weir_cli.loopback import spare_from_proxies
from weir_cli.screen import err
from weir_cli.stack.home import home_of
from weir_kit.errors import WeirError

app = typer.Typer(
    help="Weir: models as a service, with every token governed, measured and traceable.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(up.up)
app.command()(demo.demo)
app.command()(chat.chat)
app.command()(explain.explain)
app.command()(infer.infer)
app.command(name="eval")(evaluate.evaluate)
app.add_typer(models.app, name="models")
app.add_typer(adapters.app, name="adapters")
app.add_typer(tenants.app, name="tenants")
app.add_typer(keys.app, name="keys")
app.add_typer(billing.app, name="billing")
app.add_typer(prices.app, name="prices")
app.command()(trace.trace)
app.command()(doctor.doctor)


def main() -> None:
    """Run the command line. Whatever goes wrong is one line on stderr and exit code 1."""
    spare_from_proxies(os.environ)
    try:
        app()
    except Failure as failure:
        _end(str(failure))
    except WeirError as error:
        told = error.field is None or error.field in error.message
        _end(error.message if told else f"{error.field}: {error.message}")
    except Exception as error:
        _end(f"a fault of weir's own: {type(error).__name__}: {error}{_kept_traceback()}")


def _end(message: str) -> None:
    err.print(f"weir: {message}", style="red", markup=False, soft_wrap=True)
    sys.exit(1)


def _kept_traceback() -> str:
    """Write the traceback where a report can find it; how to say so."""
    log = home_of().logs / "weir.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(traceback.format_exc())
    except OSError:
        return ""
    return f" (more in {log})"


if __name__ == "__main__":
    main()
