"""The explorer's routes.

GET  /api/model                        name, number of classes, methods, images, colors
GET  /api/layers?method=               the layers that a method supports
POST /api/images?name=                 an image file; returns its id
GET  /api/thumbnail.png?image=         a small copy
GET  /api/image.png?image=             the region that the network sees
GET  /api/classes?image=               the classes with the highest scores
GET  /api/map?…                        a map's class, layer, strength and Python code
GET  /api/map.npy?…                    the values that the method returned
GET  /api/map.png?…                    each pixel's position on the color bar, or the gray map
                                       itself for the style "grey"
GET  /api/overlay.png?…&alpha=&gray=   the map over its image
GET  /, /{asset}                       the page

… stands for image=, method=, and optionally layer=, target=, against= (a class, or "rivals"). If
page= and side= are also given, a newer request from the same page and side replaces older ones.
"""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from tfviz.errors import TfvizError, first_line, shown
from tfviz.explorer.map_cache import ComputedMap
from tfviz.explorer.recipe import RIVALS, Recipe
from tfviz.explorer.session import Session
from tfviz.explorer.turns import Key, Turn
from tfviz.images.files import png_bytes
from tfviz.render.colors import MEANINGS, STYLES, gray_map, positions, ramp
from tfviz.render.overlays import Look, blended
from tfviz.viewer import http_errors
from tfviz.viewer.assets import Asset, add_page
from tfviz.viewer.bodies import Bodies
from tfviz.viewer.http_errors import HttpError
from tfviz.viewer.log import log

T = TypeVar("T")
UPLOADS = "/api/images"

_ID = Query(max_length=2000)
ImageId = Annotated[str, _ID]
Method = Annotated[str, Query(max_length=100)]
Alpha = Annotated[float, Query(ge=0, le=1)]
Name = Annotated[str, Query(min_length=1, max_length=300)]


def recipe_of(
    image: ImageId,
    method: Method,
    layer: Annotated[str | None, Query(max_length=1000)] = None,
    target: Annotated[int | None, Query(ge=0, lt=1 << 31)] = None,
    against: Annotated[str | None, Query(pattern=rf"^({RIVALS}|[0-9]{{1,9}})$")] = None,
) -> Recipe:
    """Build a recipe from the query parameters. Called by FastAPI."""
    key = method.strip().lower().replace("-", "_")
    return Recipe(image, key, layer or None, target, int(against) if against and against != RIVALS else against)


def key_of(
    page: Annotated[str | None, Query(pattern="^[0-9a-f]{1,32}$")] = None,
    side: Annotated[str, Query(pattern="^[ab]$")] = "a",
) -> Key | None:
    """Return the page and side that sent the request, or None if not given. Called by FastAPI."""
    return None if page is None else (page, side)


Chosen = Annotated[Recipe, Depends(recipe_of)]
Asker = Annotated[Key | None, Depends(key_of)]


def make_router(session: Session, assets: dict[str, Asset]) -> APIRouter:
    """Create the routes for a model and its images."""
    router = APIRouter()
    _add_model(router, session)
    _add_images(router, session)
    _add_maps(router, session)
    add_page(router, assets)
    return router


def _add_model(router: APIRouter, session: Session) -> None:
    @router.get("/api/model")
    async def get_model() -> dict[str, Any]:
        methods = await _in_turn(session, lambda _: session.methods())
        styles = {style: {"ramp": ramp(style).tolist(), "meaning": MEANINGS[style]} for style in STYLES}
        return {**session.described(), "methods": methods, "styles": styles}

    @router.get("/api/layers")
    async def get_layers(method: Method) -> dict[str, Any]:
        return await _in_turn(session, lambda _: session.layers(method))

    @router.get("/api/classes")
    async def get_classes(image: ImageId) -> dict[str, Any]:
        return await _in_turn(session, lambda _: session.classes(image))


def _add_images(router: APIRouter, session: Session) -> None:
    bodies = Bodies(session.limits)

    @router.post(UPLOADS)
    async def post_image(request: Request, name: Name) -> dict[str, str]:
        async with bodies.received(request, session.limits.image_bytes) as data:
            id = await run_in_threadpool(_checked, lambda: session.images.add(data, name))
            return {"id": id, "name": shown(name)}

    @router.get("/api/thumbnail.png")
    async def get_thumbnail(image: ImageId) -> Response:
        return await run_in_threadpool(_checked, lambda: _png(session.images.thumbnail(image)))

    @router.get("/api/image.png")
    async def get_image(image: ImageId) -> Response:
        return await run_in_threadpool(_checked, lambda: _png(session.images.image(image).picture))


def _add_maps(router: APIRouter, session: Session) -> None:
    def computed(recipe: Recipe, asker: Key | None) -> Awaitable[ComputedMap]:
        return _in_turn(session, lambda turn: session.maps.get(recipe, turn), asker)

    async def drawn(recipe: Recipe, asker: Key | None, draw: Callable[[ComputedMap, np.ndarray], np.ndarray]) -> Response:
        found = await computed(recipe, asker)
        picture = await run_in_threadpool(_checked, lambda: session.images.image(recipe.image).picture)
        return await run_in_threadpool(_checked, lambda: _png(draw(found, picture)))

    @router.get("/api/map")
    async def get_map(recipe: Chosen, asker: Asker) -> dict[str, Any]:
        return await _in_turn(session, lambda turn: session.described_map(session.maps.get(recipe, turn), turn), asker)

    @router.get("/api/map.npy")
    async def get_values(recipe: Chosen, asker: Asker) -> Response:
        content = io.BytesIO()
        np.save(content, (await computed(recipe, asker)).values)
        return Response(content.getvalue(), media_type="application/octet-stream")

    @router.get("/api/map.png")
    async def get_positions(recipe: Chosen, asker: Asker) -> Response:
        return await drawn(recipe, asker, _colored)

    @router.get("/api/overlay.png")
    async def get_overlay(recipe: Chosen, asker: Asker, alpha: Alpha = 0.5, gray: bool = False) -> Response:
        look = Look(alpha, "gray" if gray else "color")
        return await drawn(recipe, asker, lambda one, picture: blended(picture, one.drawn, one.style, look, one.strength.limit))


async def _in_turn(session: Session, work: Callable[[Turn], T], key: Key | None = None) -> T:
    return await session.turns.run(lambda turn: _checked(lambda: work(turn)), key)


def _colored(one: ComputedMap, picture: np.ndarray) -> np.ndarray:
    """Return the pixels that the page colors and blends with the image."""
    height, width = picture.shape[:2]
    if one.style == "grey":
        return gray_map(one.drawn, height, width, one.strength.limit)
    return positions(one.drawn, one.style, height, width, one.strength.limit)


def _checked(work: Callable[[], T]) -> T:
    """Run a computation, converting its errors to error responses."""
    try:
        return work()
    except HttpError:
        raise
    except TfvizError as error:
        raise HttpError(http_errors.UNPROCESSABLE, str(error), is_ordinary=True) from error
    except Exception as error:  # an error in the model's code, or too little memory
        log.exception("A map cannot be computed.")
        reason = f"The map could not be computed ({type(error).__name__}: {first_line(error)}). Try other settings."
        raise HttpError(http_errors.UNPROCESSABLE, reason) from error


def _png(pixels: np.ndarray) -> Response:
    return Response(png_bytes(pixels), media_type="image/png")
