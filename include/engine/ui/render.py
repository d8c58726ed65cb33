"""The pages as HTML. What dbt's manifest says is escaped, its Markdown rendered without HTML."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

FOLDER = Path(__file__).with_name("templates")

# Airflow keeps there whether a person wants it light or dark, and changes it while we are shown.
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

# dbt's site knows no dark: its light is turned round, hues are kept, and so are its pictures.
DARK_SITE = "html.dark { filter: invert(0.92) hue-rotate(180deg); background: #fff }"

_COMMON = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}


def _policy(**sources: str) -> dict[str, str]:
    """Headers that forbid all but these sources (https://www.w3.org/TR/CSP3/)."""
    allowed = {"frame-ancestors": "'self'", "base-uri": "'none'", "form-action": "'none'"}
    allowed |= {f"{name}-src": value for name, value in sources.items()}
    text = "; ".join(f"{name} {value}" for name, value in allowed.items())
    return _COMMON | {"Content-Security-Policy": text}


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


PAGE = _policy(default="'none'", style="'unsafe-inline'", script=_hash(THEME))
"""The headers of our pages: no script runs but the one above."""

SITE = _policy(
    default="'self' 'unsafe-inline' 'unsafe-eval'", img="'self' data:", font="'self' data:"
)
"""The headers of dbt's site: scripts, fonts and pictures are all in its one file."""

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def markdown(text: str) -> Markup:
    """`text` as HTML; tags in it are shown, and links that would run a script are none."""
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
