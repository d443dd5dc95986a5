"""Counters: what this process has seen since it started, for its log."""

from dataclasses import dataclass


@dataclass
class Counters:
    """Events by name. `charges_capped` also stands in the holds themselves, as `uncharged`."""

    charges_capped: int = 0
    holds_settled_from_meter: int = 0
    holds_voided: int = 0
    meter_records: int = 0
    meter_records_dead: int = 0
    meter_records_lost: int = 0
