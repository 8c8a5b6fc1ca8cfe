"""Which steps of which formats a run has still to do, as far as its folder tells."""

import hashlib
from collections.abc import Iterator

from ..convert.artifact import Artifact
from ..convert.formats import Format
from ..profiles.planning import forecast
from ..profiles.planning.forecast import CONVERT, EVALUATE, PROFILE, VERIFY
from ..profiles.planning.plan import Plan
from ..profiles.records.measurement import Measurement
from ..report.rows import latest
from .making import Making


def outstanding(making: Making, plan: Plan) -> list[forecast.Task]:
    """The tasks that are left, each with the time that the plan leads one to expect."""
    repetitions = making.job.measuring.speed_settings.of_round(0)
    return forecast.tasks(plan, list(_steps(making)), repetitions=repetitions)


def _steps(making: Making) -> Iterator[tuple[str, str]]:
    job, missing = making.job, making.missing
    file = job.folder.prepared
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else ""
    rows = latest(job.measuring.store.rows)
    formats = list(dict.fromkeys([*missing, *making.asked]))
    reference = making.to_compare_with
    for fmt in formats:
        made = making.existing(fmt)
        if fmt in missing:
            yield CONVERT, fmt.name
        if job.request.verify and not (made and made.checks):
            yield VERIFY, fmt.name
        if fmt in making.asked or fmt.name == reference:
            n_rounds = job.measuring.speed_settings.n_rounds
            yield from _of_measuring(fmt, made, rows.get(fmt.name, {}), n_rounds=n_rounds, digest=digest)


def _of_measuring(
    fmt: Format, made: Artifact | None, rows: dict[str, Measurement], *, n_rounds: int, digest: str
) -> Iterator[tuple[str, str]]:
    """What is not stored for the file that is there; a file that is still to be made has nothing."""
    mine = {metric: row for metric, row in rows.items() if made and row.artifact_sha256 == made.sha256}
    speed = mine.get("decode_tokens_per_second")
    done = len({*speed.parameters.get("rounds", ())}) if speed and speed.status == "ok" else 0
    yield from [(PROFILE, fmt.name)] * max(0, n_rounds - done)
    quality = mine.get("kl_divergence")
    if quality is None or quality.status != "ok" or quality.parameters.get("prepared") != digest:
        yield EVALUATE, fmt.name
