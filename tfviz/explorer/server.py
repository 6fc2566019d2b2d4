"""Serve the explorer for a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import keras
import numpy as np

from tfviz.errors import MissingPackageError, install_command

try:
    from tfviz.explorer.app import make_app
    from tfviz.viewer.page_server import PageServer
except ImportError as error:
    raise MissingPackageError(
        f"The explorer needs FastAPI and uvicorn ({error.name} is not installed). Run: {install_command('viewer')}"
    ) from error

from tfviz.explorer.limits import ExplorerLimits
from tfviz.explorer.python_lines import ModelCode
from tfviz.explorer.session import Session
from tfviz.images.folders import FoundImage

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 1338


class Explorer(PageServer):
    """A server for a page that explains images with one model.

        with Explorer(tfviz.load_model("shapes"), port=0) as explorer:
            print(explorer.address)

    Args:
        model: a keras.Model with one image input.
        found: the images offered on the page, from `tfviz.images.find_images`.
        name: the model's name on the page. None means `model.name`.
        code: expressions that load the model, for the Python code shown on the page.
        backgrounds: the baseline images for `expected_gradients`, with shape (B, H, W, C).
        host: the address to listen on.
        port: the port to listen on. 0 selects a free one.
        token: the token that pages must send. If other machines can reach the host, a token of at
            least 16 characters is required.
        limits: limits on sizes, counts and times.

    Raises:
        OptionError: the token is missing, too short or cannot be sent, or the server cannot listen
            on the address.
        UnsupportedModelError: the model does not have exactly one image input.
    """

    what: ClassVar[str] = "explorer"

    def __init__(
        self,
        model: keras.Model,
        found: Sequence[FoundImage] = (),
        *,
        name: str | None = None,
        code: ModelCode | None = None,
        backgrounds: np.ndarray | None = None,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        token: str | None = None,
        limits: ExplorerLimits | None = None,
    ) -> None:
        self.require_usable(token, host)
        limits = limits or ExplorerLimits()
        self.session = Session(
            model,
            found,
            name=name or model.name,
            code=code or ModelCode("..."),
            backgrounds=backgrounds,
            limits=limits,
        )
        app = make_app(self.session, token=token, host=host)
        super().__init__(app, host=host, port=port, token=token, limits=limits)
