"""The server's routes.

PUT /api/runs/{id}                                     run.json
GET /api/runs/{id}/state                               {"snapshots", "last", "images"}: the parts
                                                       of the run that the viewer has
PUT /api/runs/{id}/images/{image}.png
PUT /api/runs/{id}/pictures/{number}/{method}/{image}.png
PUT /api/runs/{id}/snapshots/{number}                  the snapshot's record, after its pictures
    The last two accept ?after=N if the previous snapshot is N instead of number - 1, because the
    records in between are damaged.
GET /api/runs                                          all runs
GET /api/runs/{id}/snapshots?after=N                   the records after number N, up to a limit
GET /api/runs/{id}/images/{image}.png, /api/runs/{id}/pictures/{number}/{method}/{image}.png
GET /api/events                                        server-sent events
GET /, /{asset}                                        the page
"""

from __future__ import annotations

import gzip
import json
import threading
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from tfviz.runs.run_reader import parsed
from tfviz.runs.schema import ID_PATTERN, MAX_IMAGES, MAX_SNAPSHOTS, METHOD_PATTERN, Record, Run, line_of
from tfviz.runs.validation import record_fault, run_fault
from tfviz.viewer import http_errors, uploads
from tfviz.viewer.assets import REVALIDATE, Asset, add_page
from tfviz.viewer.bodies import Bodies
from tfviz.viewer.events import Events
from tfviz.viewer.guard import is_loopback
from tfviz.viewer.http_errors import HttpError
from tfviz.viewer.known_run import KnownRun
from tfviz.viewer.limits import Limits
from tfviz.viewer.store import News, Store

RunId = Annotated[str, Path(pattern=ID_PATTERN)]
Number = Annotated[int, Path(ge=0, lt=MAX_SNAPSHOTS)]
MethodName = Annotated[str, Path(pattern=METHOD_PATTERN)]
Image = Annotated[int, Path(ge=0, lt=MAX_IMAGES)]
After = Annotated[int, Query(ge=-1, lt=MAX_SNAPSHOTS)]
Before = Annotated[int | None, Query(alias="after", ge=-1, lt=MAX_SNAPSHOTS)]

_IMMUTABLE = "private, max-age=31536000, immutable"  # a snapshot's picture never changes
_MIN_GZIP_BYTES = 2000
# Limits concurrent parsing, because parsed empty lists need twenty times the memory of their JSON.
_parsers = threading.BoundedSemaphore(2)


def make_router(store: Store, events: Events, limits: Limits, assets: dict[str, Asset]) -> APIRouter:
    """Create the routes for the runs in `store`."""
    router, bodies = APIRouter(), Bodies(limits)

    def known(run_id: str) -> KnownRun:
        found = store.runs.get(run_id)
        if found is None:
            raise HttpError(http_errors.NOT_FOUND, "This run does not exist.", is_ordinary=True)
        return found

    @router.put("/api/runs/{run_id}", status_code=204)
    async def put_run(request: Request, run_id: RunId) -> None:
        async with bodies.received(request, limits.run_bytes) as data:
            run = await run_in_threadpool(_run_of, data)
            if run["id"] != run_id:
                raise HttpError(http_errors.UNPROCESSABLE, "The run's id does not match the id in the URL.")
            events.tell(await run_in_threadpool(uploads.receive_run, store, limits, run))

    @router.get("/api/runs/{run_id}/state")
    async def get_state(run_id: RunId) -> dict[str, int]:
        run = known(run_id)
        images = await run_in_threadpool(run.count_images)
        return {"snapshots": len(run.lines), "last": run.last, "images": images}

    @router.put("/api/runs/{run_id}/images/{image}.png", status_code=204)
    async def put_image(request: Request, run_id: RunId, image: Image) -> None:
        run = known(run_id)
        async with bodies.received(request, uploads.largest_picture_bytes(run, image)) as data:
            await run_in_threadpool(uploads.receive_image, run, image, data)

    @router.put("/api/runs/{run_id}/pictures/{number}/{method}/{image}.png", status_code=204)
    async def put_picture(
        request: Request, run_id: RunId, number: Number, method: MethodName, image: Image, after: Before = None
    ) -> None:
        run, before = known(run_id), number - 1 if after is None else after
        async with bodies.received(request, uploads.largest_picture_bytes(run, image)) as data:
            await run_in_threadpool(uploads.receive_picture, run, number, before, method, image, data)

    @router.put("/api/runs/{run_id}/snapshots/{number}", status_code=204)
    async def put_record(request: Request, run_id: RunId, number: Number, after: Before = None) -> None:
        run, before = known(run_id), number - 1 if after is None else after
        async with bodies.received(request, limits.record_bytes) as data:
            record = await run_in_threadpool(_record_of, data)
            events.tell(await run_in_threadpool(uploads.receive_record, run, number, before, record))

    @router.get("/api/runs")
    async def get_runs(request: Request) -> Response:
        runs = sorted(store.known(), key=lambda run: run.run["started"], reverse=True)
        return await run_in_threadpool(_json_of, request, [_summary(run) for run in runs])

    @router.get("/api/runs/{run_id}/snapshots")
    async def get_records(request: Request, run_id: RunId, after: After = -1) -> Response:
        lines = known(run_id).lines_after(after, limits.records)
        return await run_in_threadpool(_json_of, request, lines)

    @router.get("/api/runs/{run_id}/images/{image}.png")
    async def get_image(run_id: RunId, image: Image) -> Response:
        run = known(run_id)
        return _png(await run_in_threadpool(store.read, run, run.image(image), image), REVALIDATE)

    @router.get("/api/runs/{run_id}/pictures/{number}/{method}/{image}.png")
    async def get_picture(run_id: RunId, number: Number, method: MethodName, image: Image) -> Response:
        run = known(run_id)
        caching = _IMMUTABLE if number <= run.last else REVALIDATE
        return _png(await run_in_threadpool(store.read, run, run.picture(number, method, image), image), caching)

    @router.get("/api/events")
    async def get_events() -> Response:
        if events.count >= limits.readers:
            raise HttpError(http_errors.TOO_MANY, f"{events.count} pages are already open. Close one of them.")
        now = [News(run.run["id"], run.last) for run in store.known()]
        return StreamingResponse(events.stream(now), media_type="text/event-stream")

    add_page(router, assets)
    return router


def _run_of(data: bytes) -> Run:
    with _parsers:
        run = parsed(data)
        _require(run_fault(run))
    return run


def _record_of(data: bytes) -> Record:
    with _parsers:
        record = parsed(data)
        _require(record_fault(record))
    return record


def _require(fault: str | None) -> None:
    if fault is not None:
        raise HttpError(http_errors.UNPROCESSABLE, f"The request body does not conform to the schema of run folders: {fault}.")


def _summary(known: KnownRun) -> bytes:
    counts = {"snapshots": len(known.lines), "last_time": known.last_time}
    return line_of(known.run)[:-1] + b"," + json.dumps(counts).encode()[1:]


def _json_of(request: Request, items: list[bytes]) -> Response:
    """Respond with a JSON list of items, compressed if the client is remote and accepts gzip."""
    content = b"[" + b",".join(items) + b"]"
    headers = {"Vary": "Accept-Encoding"}
    # For clients on this machine, compressing takes longer than sending.
    is_local = request.client is not None and is_loopback(request.client.host)
    if not is_local and len(content) > _MIN_GZIP_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
        content, headers["Content-Encoding"] = gzip.compress(content, 1), "gzip"
    return Response(content, media_type="application/json", headers=headers)


def _png(data: bytes | None, caching: str) -> Response:
    if data is None:
        raise HttpError(http_errors.NOT_FOUND, "This picture does not exist.", is_ordinary=True)
    return Response(data, media_type="image/png", headers={"Cache-Control": caching})
