"""Where a command's manifest comes from: memory, a file, or a parse.

Where neither the project's files nor anything else that parsing depends on differ from what an
earlier process parsed, the manifest is taken from the server's memory or from the store. Otherwise
dbt parses in full, as it does with an empty target folder, and the result is kept. A command of a
cached manifest leaves run results and logs, but no second manifest.json.
"""

import gc
import os
import pickle
from collections.abc import Callable, Mapping

import manifest_cache
import networkx
import one_run
import project_hooks
import reset
import store
from dbt.config import RuntimeConfig
from dbt.contracts.graph.manifest import Manifest
from dbt.flags import get_flags
from dbt.parser import manifest as parser

Cached = Mapping[manifest_cache.Entry, tuple[Manifest, networkx.DiGraph]]
Tell = Callable[[str, object], None]


def install(cached: Cached, tell: Tell, takes: bool = True) -> None:
    """Let dbt take its manifest from `cached` or from the store, and `tell` what was parsed. Unless
    the command `takes` any, it only leaves what it parses.
    """
    parse = parser.ManifestLoader.get_full_manifest

    def get_full_manifest(config: RuntimeConfig, **options) -> Manifest:
        before = None
        one_run.take_over()
        try:
            if may_cache():
                context = manifest_cache.context_digest(config)
                if takes and (own := from_memory(cached, context, config, tell)):
                    return own
                before = manifest_cache.Before(config, context)
                if takes and (own := from_store(before, config, tell)):
                    return own
        except Exception as error:  # what is wrong with the project, the parse finds, too
            tell("not_cached", f"{type(error).__name__}: {error}")
        gc.disable()  # a fifth of the time; what parsing makes is kept anyway
        manifest = parse(config, **options)
        gc.freeze()
        gc.enable()
        if before:
            keep(before, manifest, tell)
        return manifest

    parser.ManifestLoader.get_full_manifest = staticmethod(get_full_manifest)
    reset.install()
    project_hooks.install()


def may_cache() -> bool:
    flags = get_flags()
    return flags.PARTIAL_PARSE and not flags.PARTIAL_PARSE_FILE_PATH


def from_memory(cached: Cached, context: str, config: RuntimeConfig, tell: Tell) -> Manifest | None:
    for entry, (manifest, graph) in cached.items():
        if entry.is_current(context):
            tell("used", (entry.files, context))
            return reset.adopt(manifest, graph, config)
    return None


def from_store(before: manifest_cache.Before, config: RuntimeConfig, tell: Tell) -> Manifest | None:
    """The manifest that another process has parsed, which the server gets, too."""
    folder = store.chosen_folder(os.environ)
    if not folder:
        return None
    try:
        before.may_be_cached()
    except manifest_cache.NotCacheable:
        return None
    found = store.load(folder, before.key, manifest_cache.asked_value)
    if not found:
        return None
    pickled, asked = found
    gc.disable()
    manifest, graph = pickle.loads(pickled)
    gc.freeze()
    gc.enable()
    tell(
        "parsed",
        (before.entry({name: manifest_cache.asked_value(name) for name in asked}), pickled),
    )
    return reset.adopt(manifest, graph, config)


def keep(before: manifest_cache.Before, manifest: Manifest, tell: Tell) -> None:
    """Give the server and the store a manifest that was parsed, or say why it cannot be cached."""
    try:
        entry = before.parsed(manifest)
        graph = manifest_cache.link_graph(manifest)
        pickled = pickle.dumps((manifest, graph), pickle.HIGHEST_PROTOCOL)
        tell("parsed", (entry, pickled))
    except Exception as error:
        reason = "" if isinstance(error, manifest_cache.NotCacheable) else type(error).__name__
        tell("not_cached", f"{reason} {error}".strip())
        return
    folder = store.chosen_folder(os.environ)
    try:
        if folder and before.is_unchanged():
            store.save(folder, before.key, entry.asked, pickled)
    except (OSError, store.Unusable) as error:
        store.complain(folder, error)
