"""Core's predictions ⇄ the messages of `weir.common.v1`, for the gRPC wire and inference."""

from weir_contracts.common.v1 import prediction_pb2 as pb
from weir_gateway.core.prediction import (
    Blobs,
    Pictures,
    PredictionInput,
    PredictionOptions,
    RerankQuery,
    Tensors,
    Texts,
    User,
    Users,
)
from weir_kit.errors import InvalidArgument


def input_to_proto(asked: PredictionInput) -> pb.PredictionInput:
    """What to look at; tensors have messages of their own."""
    assert not isinstance(asked, Tensors)
    match asked:
        case Texts():
            return pb.PredictionInput(texts=pb.Texts(texts=asked.texts))
        case Pictures():
            return pb.PredictionInput(pictures=pb.Pictures(pictures=asked.pictures))
        case Blobs():
            return pb.PredictionInput(blobs=pb.Blobs(blobs=asked.blobs))
        case RerankQuery():
            rerank = pb.RerankQuery(query=asked.query, documents=asked.documents)
            return pb.PredictionInput(rerank=rerank)
        case Users():
            users = [pb.User(history=one.history, excluded=one.excluded) for one in asked.users]
            return pb.PredictionInput(users=pb.Users(users=users))


def input_of_proto(asked: pb.PredictionInput) -> PredictionInput:
    """What to look at. Raises `InvalidArgument` if it is not said."""
    match asked.WhichOneof("kind"):
        case "texts":
            return Texts(tuple(asked.texts.texts))
        case "pictures":
            return Pictures(tuple(asked.pictures.pictures))
        case "blobs":
            return Blobs(tuple(asked.blobs.blobs))
        case "rerank":
            return RerankQuery(asked.rerank.query, tuple(asked.rerank.documents))
        case "users":
            users = (User(tuple(one.history), tuple(one.excluded)) for one in asked.users.users)
            return Users(tuple(users))
    raise InvalidArgument(
        "set one of input.texts, input.pictures, input.blobs, input.rerank, input.users",
        field="input",
    )


def options_to_proto(options: PredictionOptions) -> pb.PredictionOptions:
    """What is wanted."""
    return pb.PredictionOptions(
        top_k=options.top_k, min_score=options.min_score, dimensions=options.dimensions
    )


def options_of_proto(options: pb.PredictionOptions) -> PredictionOptions:
    """What is wanted."""
    return PredictionOptions(
        options.top_k,
        options.min_score if options.HasField("min_score") else None,
        options.dimensions,
    )
