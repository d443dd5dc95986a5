"""Rules: which detectors look at which text, and what is done about what they find."""

from collections.abc import Callable
from dataclasses import dataclass

from weir_policy.core.detector import Detector
from weir_policy.core.detectors.aws import aws_access_key_id, aws_secret_access_key
from weir_policy.core.detectors.email import Email
from weir_policy.core.detectors.github import github_token
from weir_policy.core.detectors.keywords import NAME as KEYWORDS
from weir_policy.core.detectors.payment_card import PaymentCard
from weir_policy.core.detectors.phone import announced_phone, formatted_phone
from weir_policy.core.detectors.private_key import PrivateKey
from weir_policy.core.finding import Action, Where

# What the name of a rule stands for. `keywords` is not here: it needs its list.
DETECTORS: dict[str, tuple[Callable[[], Detector], ...]] = {
    "email": (Email,),
    "phone": (formatted_phone, announced_phone),
    "payment_card": (PaymentCard,),
    "secrets": (aws_access_key_id, aws_secret_access_key, github_token, PrivateKey),
}
RULE_NAMES = (*DETECTORS, KEYWORDS)


@dataclass(frozen=True)
class Rule:
    """One detector and what is done about its findings."""

    detector: Detector
    action: Action


@dataclass(frozen=True)
class RuleSet:
    """The rules for input and for output."""

    input: tuple[Rule, ...]
    output: tuple[Rule, ...]

    def at(self, where: Where) -> tuple[Rule, ...]:
        """The rules for one of the two."""
        return self.input if where is Where.INPUT else self.output
