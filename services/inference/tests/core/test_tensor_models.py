"""What may be asked of a model."""

import pytest

from weir_inference.core.tensor_models import check_outputs
from weir_inference.core.tensors import Datatype, TensorSpec
from weir_kit.errors import InvalidArgument


def test_an_output_that_the_model_has_not_is_refused_by_its_name() -> None:
    specs = [TensorSpec("y", Datatype.FP32, ()), TensorSpec("z", Datatype.FP32, ())]
    check_outputs(specs, None)
    check_outputs(specs, ("z",))
    with pytest.raises(InvalidArgument) as refused:
        check_outputs(specs, ("z", "x"))
    assert refused.value.field == "outputs.x"
    assert "['y', 'z']" in refused.value.message
