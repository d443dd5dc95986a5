"""Whether an ONNX file may be loaded: its operators, its external data, its tensors."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto

from weir_inference.adapters.repository.bad_model_folder import BadModelFolder, UnsafeFile
from weir_inference.core.file_name import file_name_fault
from weir_inference.core.tensors import ANY, DATATYPES, TensorSpec

ONNX_BYTES_MAX = (1 << 31) - 1  # protobuf's own bound; larger models have external data
EXTERNAL_SUFFIXES = (".onnx_data", ".data")
# Of onnxruntime itself. Others need a library of code that comes with the model.
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
REFUSED_OPERATORS = frozenset({"EPContext", "PythonOp"})  # name a file to load, or Python code


@dataclass(frozen=True)
class OnnxFacts:
    """What a model's file says of itself.

    `external` are the files of its folder that hold its tensors. `unshaped` are inputs and outputs
    that have no shape or are no tensors of the Open Inference Protocol: nothing is said of them.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    unshaped: frozenset[str]
    external: frozenset[str]


def read_onnx(
    folder: Path, name: str, files: Mapping[str, int], domains: Collection[str] = DOMAINS
) -> OnnxFacts:
    """Check the file `name` of a folder that holds `files` (sizes by name).

    Raises `BadModelFolder` naming the operator or the location at fault.
    """
    if files[name] > ONNX_BYTES_MAX:
        raise BadModelFolder(f"is larger than {ONNX_BYTES_MAX} bytes", name)
    try:
        model = onnx.load(folder / name, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise BadModelFolder("is not a readable ONNX file", name) from error
    if not model.ir_version or not model.opset_import or not model.graph.output:
        raise BadModelFolder("is not an ONNX model: it has no version, operators or outputs", name)
    own = {(function.domain, function.name) for function in model.functions}
    nodes = [node for function in model.functions for node in function.node]
    external: set[str] = set()
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        nodes.extend(graph.node)
        tensors = [*graph.initializer]
        for sparse in graph.sparse_initializer:
            tensors += sparse.values, sparse.indices
        while nodes:
            node = nodes.pop()
            _check_operator(node, own, domains, name)
            for attribute in node.attribute:
                graphs.extend(_graphs(attribute))
                tensors.extend(_tensors(attribute))
        external.update(
            _external(tensor, name, files)
            for tensor in tensors
            if tensor.data_location == TensorProto.EXTERNAL
        )
    return _facts(model.graph, frozenset(external))


def _check_operator(
    node: NodeProto, own: Collection[tuple[str, str]], domains: Collection[str], name: str
) -> None:
    operator = f"{node.domain}.{node.op_type}"
    if node.op_type in REFUSED_OPERATORS:
        raise UnsafeFile(f"the operator {operator} loads code or files of its own", name)
    if node.domain not in domains and (node.domain, node.op_type) not in own:
        raise UnsafeFile(
            f"the operator {operator} is of a custom domain; allowed are "
            f"{', '.join(sorted(one for one in domains if one))}",
            name,
        )


def _graphs(attribute: AttributeProto) -> Iterator[GraphProto]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def _tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
        yield sparse.values
        yield sparse.indices


def _external(tensor: TensorProto, name: str, files: Mapping[str, int]) -> str:
    """The file that holds a tensor."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    location = said.get("location", "")
    if fault := file_name_fault(location):
        raise UnsafeFile(f"an external data location's name {fault}", name)
    file = str(PurePosixPath(name).parent / location)
    if file not in files:
        raise BadModelFolder(f"its external data {location} is missing", name)
    if not file.endswith(EXTERNAL_SUFFIXES):
        raise BadModelFolder(
            f"its external data {location} must end in {' or '.join(EXTERNAL_SUFFIXES)}", name
        )
    try:
        offset, length = int(said.get("offset", "0")), int(said.get("length", "0"))
    except ValueError as error:
        raise BadModelFolder("an external tensor's offset or length is no number", name) from error
    if offset < 0 or length < 0 or offset + length > files[file]:
        raise BadModelFolder(f"a tensor lies outside its external data {location}", name)
    return file


def _facts(graph: GraphProto, external: frozenset[str]) -> OnnxFacts:
    # Before IR version 4 every initializer was an input as well.
    initialized = {tensor.name for tensor in graph.initializer}
    given = [value for value in graph.input if value.name not in initialized]
    inputs = {value.name: _spec(value) for value in given}
    outputs = {value.name: _spec(value) for value in graph.output}
    return OnnxFacts(
        inputs=tuple(spec for spec in inputs.values() if spec is not None),
        outputs=tuple(spec for spec in outputs.values() if spec is not None),
        unshaped=frozenset(name for name, spec in (inputs | outputs).items() if spec is None),
        external=external,
    )


def _spec(value: ValueInfoProto) -> TensorSpec | None:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    try:
        datatype = DATATYPES[onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)]
    except KeyError:
        return None
    sizes = (dim.dim_value if dim.dim_value > 0 else ANY for dim in tensor.shape.dim)
    return TensorSpec(value.name, datatype, tuple(sizes))
