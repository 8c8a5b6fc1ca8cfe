"""config.json in the one dialect that the rest reads: transformers 4's, flat, with the keys' usual names."""

from collections.abc import Callable, Mapping
from typing import Any

from ... import Error
from .row import Architecture, Config

_SHARED_TOP_LEVEL = ("tie_word_embeddings", "architectures")


def canonical(config: Config, row: Architecture) -> dict[str, Any]:
    """The text model's keys; `Error` where two names of one key disagree.

    transformers 5 writes `rope_parameters` (which holds `rope_theta` and `partial_rotary_factor` too, and for models
    with two kinds of layers one entry a kind) and `dtype`, where transformers 4 wrote `rope_theta`, `rope_scaling`,
    `rope_local_base_freq` and `torch_dtype`.
    """
    flat = dict(config)
    if row.nested and isinstance(config.get(row.nested), Mapping):
        top = {key: config[key] for key in _SHARED_TOP_LEVEL if key in config}
        flat = {**top, **config[row.nested]}
    for alias, key in row.aliases.items():
        if alias in flat:
            _move(flat, alias, key)
    parameters = flat.pop("rope_parameters", None)
    if parameters:
        _spread_rope(flat, parameters)
    if row.derive:
        _derive(flat, row.derive)
    return flat


def _derive(flat: dict[str, Any], derive: Callable[[dict[str, Any]], None]) -> None:
    try:
        derive(flat)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise Error(f"config.json has a size that is none: {error}") from None


def _move(flat: dict[str, Any], alias: str, key: str) -> None:
    value = flat.pop(alias)
    if value is None:
        return
    if flat.get(key) is not None and flat[key] != value:
        raise Error(f"config.json: {alias} = {value!r} and {key} = {flat[key]!r} mean the same and differ")
    flat[key] = value


def _spread_rope(flat: dict[str, Any], parameters: Any) -> None:
    """Take rope_parameters apart; what stands beside it in the older dialect gives way."""
    if not isinstance(parameters, Mapping):
        raise Error(f"config.json: rope_parameters = {parameters!r} is no table of parameters")
    if "full_attention" in parameters:
        local = parameters.get("sliding_attention") or {}
        if local.get("rope_type", "default") != "default":
            raise Error(f"config.json: rope scaling {local['rope_type']!r} in sliding layers is not supported")
        if "rope_theta" in local:
            flat["rope_local_base_freq"] = local["rope_theta"]
        parameters = parameters["full_attention"] or {}
    rest = dict(parameters)
    for key in ("rope_theta", "partial_rotary_factor", "mrope_section", "mrope_interleaved"):
        if rest.get(key) is not None:
            flat[key] = rest[key]
        rest.pop(key, None)
    if rest.get("rope_type", rest.get("type", "default")) == "default":
        flat["rope_scaling"] = None
    else:
        flat["rope_scaling"] = rest
