"""What a key may know without paying: its models, and how many tokens a prompt has."""

from weir_gateway.core.call import Input
from weir_gateway.core.limits import check_input, check_model
from weir_gateway.core.models import Models
from weir_gateway.core.ports import Admission, Model, Policy, Tokenizer
from weir_gateway.core.tasks import check_generates
from weir_kit.errors import ModelNotAllowed, ModelNotFound

TIMEOUT_S = 10.0


class Catalogue:
    """Answers that are free of charge and not counted against the rate limit."""

    def __init__(self, policy: Policy, tokenizer: Tokenizer, models: Models) -> None:
        self._policy = policy
        self._tokenizer = tokenizer
        self._models = models

    async def admission(self, api_key: str) -> Admission:
        """Who the key stands for, and which models it may use. Raises `InvalidApiKey`."""
        return await self._policy.authenticate(api_key, TIMEOUT_S)

    async def models(self, api_key: str) -> tuple[Model, ...]:
        """The models that the key may use, by name. Raises `InvalidApiKey`."""
        admission = await self.admission(api_key)
        return tuple(m for m in await self._models.all() if admission.may_use(m.name))

    async def model(self, api_key: str, name: str) -> Model:
        """One of them. Raises `ModelNotFound`, also for a model that the key may not use."""
        check_model(name)
        admission = await self.admission(api_key)
        model = await self._models.get(name)
        if not admission.may_use(name):
            raise ModelNotFound(f"the model {name!r} does not exist", field="model")
        return model

    async def generating(self, name: str) -> Model | None:
        """The model, if there is one and it generates. For routing, before the key is known."""
        try:
            model = await self._models.get(name)
        except ModelNotFound:
            return None
        return model if model.generates else None

    async def count_tokens(self, api_key: str, name: str, text: Input) -> int:
        """Prompt tokens of `text` as the model would read it. Raises `ModelNotAllowed`."""
        check_model(name)
        check_input(text)
        admission = await self.admission(api_key)
        if not admission.may_use(name):
            raise ModelNotAllowed(f"the key may not use the model {name!r}", field="model")
        model = await self._models.get(name)
        check_generates(model)
        return await self._tokenizer.count(model.tokenizer, text, TIMEOUT_S)
