"""The pages as HTML. All text of the manifest is escaped; its Markdown is rendered without HTML."""

from __future__ import annotations

import base64
import hashlib
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

# dbt's site has no dark theme: its brightness is inverted, and its hues are kept.
DARK_SITE = "html.dark { filter: invert(0.92) hue-rotate(180deg); background: #fff }"

_COMMON = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}


def _policy(**sources: str) -> dict[str, str]:
    """Headers that forbid all sources but these (https://www.w3.org/TR/CSP3/)."""
    allowed = {"frame-ancestors": "'self'", "base-uri": "'none'", "form-action": "'none'"}
    allowed |= {f"{name}-src": value for name, value in sources.items()}
    text = "; ".join(f"{name} {value}" for name, value in allowed.items())
    return _COMMON | {"Content-Security-Policy": text}


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


PAGE = _policy(default="'none'", style="'unsafe-inline'", script=_hash(THEME))
"""The headers of our pages: no script runs but THEME."""

SITE = _policy(
    default="'self' 'unsafe-inline' 'unsafe-eval'", img="'self' data:", font="'self' data:"
)
"""The headers of dbt's site: one file holds its scripts, fonts and pictures."""

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
_ENVIRONMENT.globals["theme"] = Markup(THEME)


def page(template: str, **values: Any) -> str:
    """The template of that name, filled in."""
    return _ENVIRONMENT.get_template(template).render(values)


def docs_site(html: str) -> str:
    """dbt's page, light or dark as Airflow is."""
    return html.replace("</head>", f"<style>{DARK_SITE}</style><script>{THEME}</script></head>", 1)
