"""Chromium, driven by Playwright, and the pictures of the README that it takes."""

from __future__ import annotations

import base64
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

Theme = Literal["light", "dark"]

SIZE = {"width": 1400, "height": 860}
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BYTES = 300_000
WAIT = 60_000  # milliseconds: the first page of an API server takes a while


def program() -> str:
    """The browser of this machine. Raises RuntimeError, with the command that installs one."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        raise RuntimeError(
            f"No browser here (looked for {', '.join(PROGRAMS)}). Install one, on Debian with: "
            "apt-get install --no-install-recommends chromium"
        )
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser. Playwright is in a folder of its own, which `make test-browser` names."""
    sys.path.append(os.environ.get("PLAYWRIGHT", ""))
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise RuntimeError("No Playwright here. These tests run with: make test-browser") from None
    with sync_playwright() as playwright:
        # As root, Chromium cannot make its sandbox; all that it opens here is our own.
        browser = playwright.chromium.launch(executable_path=program(), args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def open_page(browser: Browser, url: str, theme: Theme, hosts: set[str]) -> Iterator[Page]:
    """A page with Airflow's theme set; where it loads anything from is added to `hosts`."""
    context = browser.new_context(base_url=url, viewport=SIZE, device_scale_factor=2)
    context.set_default_timeout(WAIT)
    context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    context.on("request", lambda request: hosts.update(origin(request.url)))
    yield context.new_page()
    context.close()


def origin(url: str) -> set[str]:
    """Scheme and host of an address; nothing for data that is in the page itself."""
    return set() if url.startswith(("data:", "blob:")) else {"/".join(url.split("/")[:3])}


def take(page: Page, name: str, around: Locator | None = None, scale: float = 1.75) -> None:
    """Writes `<name>.webp` into the folder SCREENSHOTS, where that is set: the page, or what is
    around some of its elements. `scale` are its pixels for one of the page.
    """
    folder = os.environ.get("SCREENSHOTS")
    if not folder:
        return
    clip = {"x": 0, "y": 0, **SIZE} if around is None else box(around)
    shot = page.context.new_cdp_session(page).send(
        "Page.captureScreenshot",
        {"format": "webp", "quality": 80, "clip": {**clip, "scale": scale}},
    )
    picture = base64.b64decode(shot["data"])
    assert len(picture) < BYTES, f"{name}: {len(picture)} bytes"
    Path(folder, f"{name}.webp").write_bytes(picture)


def box(elements: Locator, margin: int = 12) -> dict[str, float]:
    """The rectangle around all of the elements, in pixels of the page."""
    boxes = [one.bounding_box() for one in elements.all()]
    left, top = (min(one[side] for one in boxes) - margin for side in ("x", "y"))
    right = max(one["x"] + one["width"] for one in boxes) + margin
    bottom = max(one["y"] + one["height"] for one in boxes) + margin
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}
