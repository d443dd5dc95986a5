"""Whether policy said yes to a call."""

from weir_kit.admission import Admission, AdmissionVerifier
from weir_kit.errors import PermissionDenied


def admitted(verifier: AdmissionVerifier, token: str, model: str, now_s: float) -> Admission:
    """The admission, which is for this model. Raises `Unauthenticated`, `PermissionDenied`."""
    admission = verifier.verify(token, now_s)
    if admission.model != model:
        raise PermissionDenied("the admission is for another model")
    return admission
