"""The pages as HTML. All text of the manifest is escaped; its Markdown is rendered without HTML."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

FOLDER = Path(__file__).with_name("templates")

# Airflow keeps the person's choice of light or dark there, and may change it while a page is open.
THEME = """
const wanted = matchMedia("(prefers-color-scheme: dark)");
const paint = () => {
  const theme = localStorage.getItem("theme");
  const dark = theme === "dark" || (theme !== "light" && wanted.matches);
  document.documentElement.classList.toggle("dark", dark);
};
addEventListener("storage", paint);
wanted.addEventListener("change", paint);
paint();
"""

# dbt's site has another origin than Airflow: the page around it passes addresses on, both ways.
FRAME = """
const frame = document.querySelector("iframe");
const site = () => new URL("site" + location.hash, location.href).href;
frame.src = site();
addEventListener("hashchange", () => frame.contentWindow.location.replace(site()));
addEventListener("message", (event) => {
  if (event.source === frame.contentWindow && String(event.data).startsWith("#!/")) {
    history.replaceState(null, "", event.data);
  }
});
"""

# In dbt's site: reports each address of a page to the page around it.
REPORT = """
addEventListener("hashchange", () => parent.postMessage(location.hash, "*"));
"""

_COMMON = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}


def _policy(**sources: str) -> dict[str, str]:
    """Headers that forbid all sources but these (https://www.w3.org/TR/CSP3/)."""
    allowed = {"frame-ancestors": "'self'", "base-uri": "'none'", "form-action": "'none'"}
    allowed |= {"default-src": "'none'", "style-src": "'unsafe-inline'"}
    allowed |= {f"{name}-src": value for name, value in sources.items()}
    text = "; ".join(f"{name} {value}" for name, value in allowed.items())
    return _COMMON | {"Content-Security-Policy": text}


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


PAGE = _policy(script=_hash(THEME))
"""The headers of our pages: no script runs but THEME."""

DOCS = _policy(script=f"{_hash(THEME)} {_hash(FRAME)}", frame="'self'")
"""The headers of the page around dbt's site."""

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def markdown(text: str) -> Markup:
    """`text` as HTML. Tags in it are shown as text; a link that would run a script becomes text."""
    return Markup(_MARKDOWN.render(text))


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["markdown"] = markdown
_ENVIRONMENT.globals |= {"theme": Markup(THEME), "frame": Markup(FRAME)}


def page(template: str, **values: Any) -> str:
    """The template of that name, filled in."""
    return _ENVIRONMENT.get_template(template).render(values)


def docs_site(html: str, manifest: str, catalog: str) -> tuple[str, dict[str, str]]:
    """dbt's site with these two JSON texts in it, and its headers.

    Only its own scripts run, without the origin of Airflow: what dbt's site makes of a description
    may be HTML with a script in it. Raises ValueError if the site has no room for the texts.
    """
    for name in ("manifest", "catalog"):
        slot = f'"{name.upper()}.JSON INLINE DATA"'
        if slot not in html:
            raise ValueError(slot)
        html = html.replace(slot, f'JSON.parse(document.getElementById("{name}").textContent)')
    allowed = " ".join(map(_hash, (REPORT, *_SCRIPTS.findall(html))))
    headers = _policy(script=allowed, img="data:", font="data:")
    headers["Content-Security-Policy"] += "; sandbox allow-scripts allow-downloads allow-popups"
    data = "".join(
        # A text of the manifest must not end the element: JSON has another way to write `<`.
        f'<script type="application/json" id="{name}">{text.replace("<", _LESS_THAN)}</script>'
        for name, text in (("manifest", manifest), ("catalog", catalog))
    )
    # Without the attribute, Angular tries if it may evaluate texts.
    head = f'<head><meta ng-csp="no-unsafe-eval">{data}<script>{REPORT}</script>'
    return html.replace("<head>", head, 1), headers


_LESS_THAN = "\\u003c"
_SCRIPTS = re.compile(r"<script[^>]*>(.*?)</script>", re.S)
