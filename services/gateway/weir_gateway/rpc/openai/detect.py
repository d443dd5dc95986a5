"""`POST /v1/detect` and `POST /v1/ocr`: what is in pictures, and what is written there."""

from weir_contracts.common.v1 import prediction_pb2 as pb
from weir_gateway.core.prediction import Predicted, PredictionOptions
from weir_gateway.rpc.openai.asked import Asked, Tell, each, read_asked
from weir_gateway.rpc.openai.fields import Fields
from weir_gateway.rpc.openai.pictures import read_pictures
from weir_gateway.rpc.openai.shape import Json


def read_detect(fields: Fields) -> Asked:
    """The body of `/v1/detect`. Raises `InvalidArgument`."""
    return _read(fields, "object-detection", _tell_boxes)


def read_ocr(fields: Fields) -> Asked:
    """The body of `/v1/ocr`. Raises `InvalidArgument`."""
    return _read(fields, "ocr", _tell_lines)


def _read(fields: Fields, task: str, tell: Tell) -> Asked:
    pictures, names = read_pictures(fields)
    options = PredictionOptions(min_score=fields.number("min_score"))
    return read_asked(fields, pictures, options, (task,), tell, names)


def _tell_boxes(predicted: Predicted) -> Json:
    return {"object": "list", "data": each(predicted, _boxes, "boxes")}


def _tell_lines(predicted: Predicted) -> Json:
    return {"object": "list", "data": each(predicted, _lines, "lines")}


def _boxes(answer: pb.Boxes) -> Json:
    boxes = [{**_box(box), "label": box.label, "score": box.score} for box in answer.boxes]
    return {"width": answer.width, "height": answer.height, "boxes": boxes}


def _lines(answer: pb.Lines) -> Json:
    lines = [
        {"text": line.text, "turned": line.turned, **_box(line.box), "score": line.box.score}
        for line in answer.lines
    ]
    return {"lines": lines}


def _box(box: pb.Box) -> Json:
    """Pixels from the picture's upper left corner."""
    return {"x_min": box.x_min, "y_min": box.y_min, "x_max": box.x_max, "y_max": box.y_max}
