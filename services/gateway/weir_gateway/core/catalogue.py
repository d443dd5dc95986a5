"""What a key may know without paying: its models, and how many tokens a prompt has."""

from weir_gateway.core.call import Input
from weir_gateway.core.limits import check_input, check_model
from weir_gateway.core.models import Models
from weir_gateway.core.ports import Admission, Model, Policy, Tokenizer
from weir_kit.errors import ModelNotAllowed, ModelNotFound

TIMEOUT_S = 10.0


class Catalogue:
    """Answers that are free of charge and not counted against the rate limit."""

    def __init__(self, policy: Policy, tokenizer: Tokenizer, models: Models) -> None:
        self._policy = policy
        self._tokenizer = tokenizer
        self._models = models

    async def models(self, api_key: str) -> tuple[Model, ...]:
        """The models that the key may use, by name. Raises `InvalidApiKey`."""
        admission = await self._policy.authenticate(api_key, TIMEOUT_S)
        return tuple(m for m in await self._models.all() if _may_use(admission, m.name))

    async def model(self, api_key: str, name: str) -> Model:
        """One of them. Raises `ModelNotFound`, also for a model that the key may not use."""
        check_model(name)
        admission = await self._policy.authenticate(api_key, TIMEOUT_S)
        model = await self._models.get(name)
        if not _may_use(admission, name):
            raise ModelNotFound(f"the model {name!r} does not exist", field="model")
        return model

    async def count_tokens(self, api_key: str, name: str, text: Input) -> int:
        """Prompt tokens of `text` as the model would read it. Raises `ModelNotAllowed`."""
        check_model(name)
        check_input(text)
        admission = await self._policy.authenticate(api_key, TIMEOUT_S)
        if not _may_use(admission, name):
            raise ModelNotAllowed(f"the key may not use the model {name!r}", field="model")
        model = await self._models.get(name)
        return await self._tokenizer.count(model.tokenizer, text, TIMEOUT_S)


def _may_use(admission: Admission, name: str) -> bool:
    return not admission.allowed_models or name in admission.allowed_models
