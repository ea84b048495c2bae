"""The JSON of every answer, as OpenAPI describes it."""

from typing import Literal

from pydantic import BaseModel

from contract.manifest import DISCLAIMER


class Problem(BaseModel):
    """Any answer that is not a result."""

    status: int
    code: str  # for programs
    error: str  # for people
    note: str = DISCLAIMER


class OperatingPoint(BaseModel):
    """Where the class changes."""

    name: str
    threshold: int  # the class is the second one where the integer logit is greater
    probability: float  # of the second class, there


class ClassPoint(BaseModel):
    """A rule by which one of several classes is chosen."""

    name: str
    class_name: str | None  # the class that is set against the rest; null: the greatest of all is the answer
    margin: float | None  # by which its real logit must exceed all others


class Answer(BaseModel):
    """One image's, of a network with one logit."""

    index: int  # in the request, of images; in the file, of inputs
    logit: int
    probability: float  # of the second class, calibrated
    class_name: str  # at the operating point
    width: int | None  # of the upload [pixel]; null: it is no picture
    height: int | None
    preprocess_ms: float
    device_ms: float  # its share of the batch
    unlike: bool | None  # the training images; null: nobody knows these
    unlikeness: float | None  # how many times its limit the worst measure is; above 1 it is unlike


class Classified(BaseModel):
    """One image's, of a network with an output per class, or of an imported one."""

    index: int  # in the request, of images; in the file, of inputs
    outputs: list[int]  # the device's K integers
    probabilities: list[float] | None  # of each class, calibrated; null: nobody calibrated an imported network
    results: list[float | None] | None  # what an imported file gives, null where not finite; null: it was trained here
    label: int  # number of the class, at the operating point
    class_name: str
    width: int | None  # of the upload [pixel]; null: it is no picture
    height: int | None
    preprocess_ms: float
    device_ms: float  # its share of the batch
    unlike: bool | None  # the training images; null: nobody knows these
    unlikeness: float | None  # how many times its limit the worst measure is; above 1 it is unlike


class Failure(Problem):
    """One image that has no answer, though others of the request have."""

    index: int


class Predictions(BaseModel):
    """Of one request."""

    run: str
    network: str
    device: str
    operating_point: OperatingPoint | ClassPoint
    results: list[Answer | Classified | Failure]
    note: str = DISCLAIMER


class Map(BaseModel):
    """What speaks for a class (positive) or against it, in units of its integer; of one logit, for the second class."""

    differences: list[list[int]]  # per window: logit of the image minus logit without the window
    rows: list[int]  # first row of the windows [pixel of the network's input]
    columns: list[int]
    size: int  # of a window
    sums: list[list[int]]  # per pixel, over the windows that cover it
    counts: list[list[int]]
    fill: str


class _Mapped(BaseModel):
    """An answer, the map of a class, and pictures of both as data URLs."""

    run: str
    network: str
    device: str
    operating_point: OperatingPoint | ClassPoint
    result: Answer | Classified
    map: Map
    images: int  # in the batch
    cycles: int | None  # of the accelerator for the batch
    cycles_are: Literal["simulated", "expected"]
    preview: str  # the X-ray, JPEG
    overlay: str  # the map, PNG with transparency, to be stretched over the X-ray
    note: str = DISCLAIMER


class Explained(_Mapped):
    """An answer of one logit, its map, and pictures of both as data URLs."""

    operating_point: OperatingPoint
    result: Answer


class ExplainedClass(_Mapped):
    """An answer of several outputs, the map of one class, and pictures of both as data URLs."""

    operating_point: ClassPoint
    result: Classified
    target: int  # number of the class that the map is of


class Values(BaseModel):
    """What is fed to a run that reads no pictures: a file of it, or the file as the request's whole body."""

    type: str  # float, or that of the integers
    shape: list[int]  # of one input
    expected: str  # both in words, with the integers' range
    formats: str  # in which a file may have them, in words
    inputs: int  # most of one file


class Run(BaseModel):
    """What can be chosen, of a network with one logit."""

    name: str
    network: str
    data: str  # what it was trained on
    class_names: list[str]
    devices: list[str]
    operating_points: list[OperatingPoint]  # the run's own first
    examples: int
    values: Values | None  # null: it is fed pictures


class ClassRun(BaseModel):
    """What can be chosen, of a network with several outputs or an imported one."""

    name: str
    network: str
    data: str  # what it was trained on, or the file that was imported
    class_names: list[str]
    devices: list[str]
    operating_points: list[ClassPoint]  # the run's own first
    examples: int
    values: Values | None  # null: it is fed pictures
    outputs: int  # K
    imported: bool  # its classes have numbers for names, and no probabilities


class Runs(BaseModel):
    """All of it, and the bounds of a request."""

    runs: list[Run | ClassRun]
    files: int
    file_bytes: int
    request_bytes: int
    note: str = DISCLAIMER


class Health(BaseModel):
    """That the server answers."""

    status: Literal["ok"] = "ok"
    note: str = DISCLAIMER
