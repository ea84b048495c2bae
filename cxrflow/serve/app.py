"""The web application: a page, and the API that it uses."""

import base64
import contextlib
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from numpy.typing import NDArray
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from contract.decision import OWN, Choice, Decision
from contract.errors import ConfigError
from contract.inputs import FORMATS
from contract.likeness import is_unlike
from contract.manifest import DISCLAIMER
from cxrflow.serve.answers import (
    Answer,
    Classified,
    ClassPoint,
    ClassRun,
    Explained,
    ExplainedClass,
    Failure,
    Health,
    Map,
    OperatingPoint,
    Predictions,
    Problem,
    Run,
    Runs,
    Values,
)
from cxrflow.serve.decoders import COMMAND, Decoded, Decoders
from cxrflow.serve.devices import Fleet, Served
from cxrflow.serve.guard import Guard, refuse
from cxrflow.serve.limits import BUG, Budget, Limits, Refusal
from cxrflow.serve.upload import FIELD, Part, receive
from driver.accelerator import Accelerator
from driver.explain import Explanation, class_number, explain, overlay

PAGE = Path(__file__).parent / "page"
PAGE_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

AT_ONCE = 256  # inputs of one turn on a device
VALUES = {  # bodies beside a form, of runs that read no pictures; their first bytes say what they are
    "application/json": {"schema": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}},
    "text/csv": {"schema": {"type": "string"}},
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
}

RunName = Annotated[str | None, Query(description="A name from /api/runs; the first where not given.", max_length=200)]
Device = Annotated[str | None, Query(description="One of the run's devices; its first where not given.", max_length=20)]
Point = Annotated[str | None, Query(description="An operating point; the run's own where not given.", max_length=200)]
Target = Annotated[
    str | None, Query(description="Name or number of the class to map; the answer's where not given.", max_length=200)
]
Fill = Annotated[Literal["mirror", "mean"], Query(description="What covers parts of the image.")]


class Server:
    """The endpoints of the API."""

    def __init__(self, fleet: Fleet, limits: Limits, decoders: Decoders) -> None:
        """Serve `fleet` within `limits`."""
        self._fleet, self._limits, self._decoders = fleet, limits, decoders
        self._budget = Budget(limits.held_bytes)

    async def predict(
        self, request: Request, run: RunName = None, device: Device = None, point: Point = None
    ) -> Predictions:
        """Answer for images, of which a bad one does not hinder the others, or for the inputs of a file of values."""
        served, kind = self._fleet.choose(run, device)
        at, pictures = _point(served, point), served.manifest.reads_pictures
        decoded: dict[int, Decoded] = {}
        refusals: dict[int, Refusal] = {}
        most = self._limits.files if pictures else 1
        async with self._uploads(request, most=most, pictures=pictures) as parts:
            for index, part in enumerate(parts):
                try:
                    decoded[index] = await self._decode(part, served, preview=False)
                except Refusal as refusal:
                    refusals[index] = refusal
        if not decoded:
            raise refusals[0]
        batch = np.concatenate([one.inputs for one in decoded.values()]) if pictures else decoded[0].inputs
        if not pictures:
            decoded = dict(enumerate(decoded[0].each()))
        with self._budget.held(batch.nbytes):
            answers, seconds = await self._infer(request, served, kind, batch)
        results: list[Answer | Classified | Failure] = [
            _result(served, at, index, outputs, one, seconds / len(batch), unlikeness)
            for (index, one), (outputs, unlikeness) in zip(decoded.items(), answers, strict=True)
        ]
        results += [Failure(index=index, **refusal.body()) for index, refusal in refusals.items()]
        results.sort(key=lambda result: result.index)
        return Predictions(run=served.name, network=_network(served), device=kind, operating_point=at, results=results)

    async def explain(
        self,
        request: Request,
        run: RunName = None,
        device: Device = None,
        point: Point = None,
        fill: Fill = "mirror",
        target: Target = None,
    ) -> Explained | ExplainedClass:
        """Answer for one image, with the map of what speaks for and against: one batch on the device."""
        served, kind = self._fleet.choose(run, device)
        at = _point(served, point)
        wanted = None if target is None else _target(served, target)
        if not served.manifest.reads_pictures:
            raise Refusal(422, "no-picture", "This run reads values, of which there is no map. Ask /api/predict.")
        async with self._uploads(request, most=1, pictures=True) as parts:
            decoded = await self._decode(parts[0], served, preview=True)

        def work(accelerator: Accelerator) -> Explanation:
            return explain(accelerator, decoded.inputs[0], fill=fill, target=wanted, point=at.name)

        found, _ = await self._fleet.ask(served, kind, work)
        result = _result(served, at, 0, found.outputs, decoded, found.seconds, found.unlikeness)
        common: dict[str, Any] = dict(
            run=served.name,
            network=_network(served),
            device=kind,
            map=Map(
                differences=found.differences.tolist(),
                rows=found.windows.rows.tolist(),
                columns=found.windows.columns.tolist(),
                size=found.windows.size,
                sums=found.sums.tolist(),
                counts=found.counts.tolist(),
                fill=found.fill,
            ),
            images=found.images,
            cycles=found.cycles,
            cycles_are="simulated" if found.cycles_are == "simulated" else "expected",
            preview=_data_url("jpeg", decoded.preview),
            overlay=_data_url("png", _picture(overlay(found))),
        )
        if isinstance(at, OperatingPoint) and isinstance(result, Answer):
            return Explained(operating_point=at, result=result, **common)
        assert isinstance(at, ClassPoint) and isinstance(result, Classified)
        return ExplainedClass(operating_point=at, result=result, target=found.target, **common)

    async def runs(self) -> Runs:
        """Say what can be chosen, and how much a request may hold."""
        return Runs(
            runs=[_run(run, self._limits) for run in self._fleet.runs.values()],
            files=self._limits.files,
            file_bytes=self._limits.file_bytes,
            request_bytes=self._limits.request_bytes,
        )

    async def example(self, run: RunName = None, number: Annotated[int, Query(ge=0, le=1000)] = 0) -> Response:
        """Return one of a run's golden images as PNG: what the network reads, pixel by pixel."""
        served, _ = self._fleet.choose(run, None)
        if number >= len(served.examples):
            raise Refusal(404, "unknown-example", "There is no such example. Ask /api/runs for their number.")
        return Response(_picture(served.examples[number]), media_type="image/png")

    @contextlib.asynccontextmanager
    async def _uploads(self, request: Request, *, most: int, pictures: bool) -> AsyncIterator[list[Part]]:
        """Hold the files of a request in memory. Raises Refusal."""
        held = await receive(request, self._limits, self._budget, most=most, pictures=pictures)
        try:
            yield held.parts
        finally:
            held.close()

    async def _infer(
        self, request: Request, served: Served, kind: str, batch: NDArray[Any]
    ) -> tuple[list[tuple[NDArray[np.int64], float | None]], float]:
        """Return each input's integers and unlikeness, and the time on the device [s]; others have turns in between."""
        found: list[tuple[NDArray[np.int64], float | None]] = []
        seconds = 0.0
        for part in np.split(batch, range(AT_ONCE, len(batch), AT_ONCE)):
            if await request.is_disconnected():
                raise Refusal(400, "bad-request", "The connection was closed before the answer. Send it again.")
            answers, took = await self._fleet.ask(served, kind, partial(Accelerator.infer, images=part))
            times = [None] * len(part) if answers.unlikeness is None else answers.unlikeness.tolist()
            found += zip(answers.outputs, times, strict=True)
            seconds += took
        return found, seconds

    async def _decode(self, part: Part, served: Served, *, preview: bool) -> Decoded:
        return await self._decoders.decode(part.content, part.declared, served.manifest, preview=preview)


def _data_url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _picture(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _run(run: Served, limits: Limits) -> Run | ClassRun:
    manifest = run.manifest
    fed = manifest.fed
    made = "" if manifest.rule is None else f"; the host makes {manifest.rule}"
    values = Values(
        type=fed.reads,
        shape=list(fed.shape),
        expected=fed.expected + made,
        formats=FORMATS,
        inputs=limits.inputs_of(manifest),
    )
    common: dict[str, Any] = dict(
        name=run.name,
        network=_network(run),
        data=str(manifest.provenance.get("data", "")),
        class_names=manifest.classes,
        devices=list(run.devices),
        examples=len(run.examples),
        values=None if manifest.reads_pictures else values,
    )
    if isinstance(manifest.decision, Decision):
        return Run(operating_points=_points(manifest.decision), **common)
    imported = manifest.head is not None
    return ClassRun(operating_points=_class_points(run), outputs=manifest.outputs, imported=imported, **common)


def _points(decision: Decision) -> list[OperatingPoint]:
    """Return the run's own operating point and the others."""
    return [
        OperatingPoint(name=name, threshold=threshold, probability=float(decision.probability(np.array(threshold))))
        for name, threshold in decision.points.items()
    ]


def _class_points(served: Served) -> list[ClassPoint]:
    """Return the run's own rule, that the greatest is the answer, and the others."""
    choice, names = served.manifest.decision, served.manifest.classes
    if not isinstance(choice, Choice):
        return [ClassPoint(name=OWN, class_name=None, margin=None)]
    return [
        ClassPoint(
            name=name,
            class_name=None if one is None else names[one.label],
            margin=None if one is None else choice.real_margin(one),
        )
        for name, one in choice.points.items()
    ]


def _point(served: Served, name: str | None) -> OperatingPoint | ClassPoint:
    decision = served.manifest.decision
    points: list[Any] = _points(decision) if isinstance(decision, Decision) else _class_points(served)
    found = points[0] if name is None else next((point for point in points if point.name == name), None)
    if found is None:
        raise Refusal(404, "unknown-point", "This run has no such operating point. Ask /api/runs for their names.")
    return found  # type: ignore[no-any-return]


def _require_known(request: Request) -> None:
    """Refuse a parameter that would do nothing: the answer would be one to another question."""
    names = [field.alias for field in request.scope["route"].dependant.query_params]
    given = [name for name, _ in request.query_params.multi_items()]
    if not set(given) <= set(names):
        expected = f"expected of: {', '.join(names)}" if names else "expected none"
        raise Refusal(422, "unknown-parameter", f"The query has an unknown parameter, {expected}.")
    if len(set(given)) < len(given):
        raise Refusal(422, "repeated-parameter", "The query has a parameter twice, expected each once at most.")


def _target(served: Served, target: str) -> int:
    """Return the number of a class that there is a map of."""
    with contextlib.suppress(ConfigError):
        number = class_number(served.manifest.classes, target)
        if number or not isinstance(served.manifest.decision, Decision):
            return number
    raise Refusal(
        404, "unknown-class", "This run has no map of such a class. Ask /api/runs for the names; the first is 0."
    )


def _label(served: Served, point: ClassPoint, outputs: NDArray[np.int64]) -> int:
    """Return the class of (K,) integers."""
    manifest, row = served.manifest, outputs[None]
    if isinstance(manifest.decision, Choice):
        return int(manifest.decision.classes(row, point.name)[0])
    assert manifest.head is not None
    return int(manifest.head.classes(row)[0])


def _result(
    served: Served,
    point: OperatingPoint | ClassPoint,
    index: int,
    outputs: NDArray[np.int64],
    decoded: Decoded,
    device_s: float,
    unlikeness: float | None,
) -> Answer | Classified:
    """Return the answer of an image's (K,) integers."""
    manifest = served.manifest
    decision, head = manifest.decision, manifest.head
    about: dict[str, Any] = dict(
        index=index,
        width=decoded.width,
        height=decoded.height,
        preprocess_ms=round(1e3 * decoded.seconds, 3),
        device_ms=round(1e3 * device_s, 3),
        unlike=None if unlikeness is None else is_unlike(unlikeness),
        unlikeness=unlikeness,
    )
    if isinstance(point, OperatingPoint):
        assert isinstance(decision, Decision)
        logit = int(outputs[0])
        return Answer(
            logit=logit,
            probability=float(decision.probability(np.array(logit))),
            class_name=manifest.class_names[int(decision.classes(outputs, point.name)[0])],
            **about,
        )
    label = _label(served, point, outputs)
    return Classified(
        outputs=outputs.tolist(),
        probabilities=decision.probabilities(outputs[None])[0].tolist() if isinstance(decision, Choice) else None,
        results=None if head is None else [v if isfinite(v) else None for v in head.results(outputs[None])[0].tolist()],
        label=label,
        class_name=manifest.classes[label],
        **about,
    )


def _network(served: Served) -> str:
    return str(served.manifest.provenance.get("network", ""))


def create_app(
    fleet: Fleet,
    *,
    limits: Limits | None = None,
    loopback: bool = True,
    token: str | None = None,
    decoder: Sequence[str] = COMMAND,
) -> ASGIApp:
    """Return the application; it closes the fleet when it ends.

    Args:
        fleet: what to serve.
        limits: of requests; the usual ones where not given.
        loopback: whether only this machine can reach it.
        token: that the API asks for; None for none.
        decoder: what starts a process that decodes images.
    """
    limits = limits or Limits()
    decoders = Decoders(limits, decoder)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        decoders.start()
        yield
        decoders.close()
        fleet.close()

    app = FastAPI(
        title="cxrflow", version="1", description=DISCLAIMER, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    server = Server(fleet, limits, decoders)
    uploads = _problems(400, 404, 408, 413, 415, 503)
    known: dict[str, Any] = {"dependencies": [Depends(_require_known)]}
    app.post("/api/predict", responses=uploads, openapi_extra=_form(limits.files, VALUES), **known)(server.predict)
    app.post("/api/explain", responses=uploads, openapi_extra=_form(1), **known)(server.explain)
    app.get("/api/runs", responses=_problems(), **known)(server.runs)
    png: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
    app.get("/api/example", response_class=Response, responses=png | _problems(404), **known)(server.example)
    app.get("/healthz", responses=_problems(), **known)(_health)
    for path, (name, kind) in PAGE_FILES.items():
        content = Response((PAGE / name).read_bytes(), media_type=kind)
        app.get(path, include_in_schema=False)(_constant(content))
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _refused)
    return Guard(app, loopback=loopback, token=token)


async def _health() -> Health:
    """Say that the server answers."""
    return Health()


def _constant(response: Response) -> Any:
    async def page() -> Response:
        return response

    return page


async def _refused(_: Request, err: Exception) -> Response:
    """Turn any exception into an answer that quotes nothing of the request."""
    if isinstance(err, Refusal):
        return refuse(err)
    if isinstance(err, RequestValidationError):
        return refuse(Refusal(422, "bad-parameter", "A parameter of the query is not what /openapi.json describes."))
    if isinstance(err, HTTPException) and err.status_code < 500:
        missing = err.status_code == 404
        sentence = "There is nothing at this address." if missing else "This address does not take such a request."
        answer = refuse(
            Refusal(err.status_code, "not-found" if missing else "bad-request", f"{sentence} See /openapi.json.")
        )
        answer.headers.update(err.headers or {})
        return answer
    return refuse(BUG)


def _form(most: int, other: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe the form for OpenAPI, because it is parsed by hand, and `other` bodies, by their types."""
    files = {"type": "array", "minItems": 1, "maxItems": most, "items": {"type": "string", "format": "binary"}}
    schema = {"type": "object", "required": [FIELD], "properties": {FIELD: files}, "additionalProperties": False}
    types = "image/png, image/jpeg, application/dicom"
    content = {"multipart/form-data": {"schema": schema, "encoding": {FIELD: {"contentType": types}}}, **(other or {})}
    return {"requestBody": {"required": True, "content": content}}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the refusals for OpenAPI; those of Guard can meet any request."""
    return {status: {"model": Problem} for status in sorted({401, 403, 421, 422, *statuses})}
