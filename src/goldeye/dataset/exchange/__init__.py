"""Labels into other forms and back: `goldeye labels export` and `goldeye labels import` (docs/label-files.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from goldeye.dataset.exchange import official, pictures, rows
from goldeye.dataset.exchange.ballots import Problems, brief, collect, to_ballots
from goldeye.dataset.exchange.official import write_label_file
from goldeye.dataset.exchange.place import carry_out, plan_import
from goldeye.dataset.exchange.whole import bring_back, check_free, replaced_folder, whole_folder
from goldeye.dataset.groups import Dataset
from goldeye.dataset.labels import finals, pseudonyms, read_votes
from goldeye.errors import InvalidInput, unknown_name
from goldeye.files import atomic_path, write_lines

FORMATS = ("official", "csv", "parquet", "positives", "preferences", "huggingface")
FOLDERS = ("official", "positives", "huggingface")  # the others are files
IMPORT_FORMATS = ("official", "csv", "parquet")

__all__ = [
    "FORMATS",
    "IMPORT_FORMATS",
    "export_labels",
    "export_text",
    "import_labels",
    "import_text",
    "write_label_file",
]


def export_labels(
    path: Path,
    out: Path,
    format_: str,
    *,
    split: str | None = None,
    min_votes: int = 1,
    database: str | None = None,
    names: bool = False,
    with_pictures: bool = False,
    with_original: bool = True,
) -> dict[str, Any]:
    """Write the labels of the dataset at `path` to `out`; what was written, as the command's JSON has it.

    `min_votes`: candidates with fewer votes have no final label. `names` puts people's names for their pseudonyms
    (csv, parquet). `with_pictures` adds the pictures (official). `with_original` makes pairs with the original, too
    (preferences). Raises InvalidInput when `out` holds something already, and when there are no votes.
    """
    if format_ not in FORMATS:
        raise unknown_name("format", format_, FORMATS)
    for given, option, formats in (
        (names, "--names", ("csv", "parquet")),
        (with_pictures, "--with-pictures", ("official",)),
        (not with_original, "--no-original", ("preferences",)),
    ):
        if given and format_ not in formats:
            raise InvalidInput(f"{option} is for {' and '.join(formats)}, not for {format_}.")
    dataset = Dataset.open(path, split)
    labels = dataset.path / "labels"
    inside = format_ == "official" and out.resolve() in (path.resolve(), dataset.path.resolve())
    if inside:
        if split is not None or with_pictures:
            raise InvalidInput("Into the dataset itself go all labels and no pictures: no --split, no --with-pictures.")
        bring_back(labels)
        official.check_own(labels, dataset)
    else:
        check_free(out, dataset, folder=format_ in FOLDERS)
    table = read_votes(dataset, database=database, surplus=True)
    called = {voter: voter for voter in table.voters} if names else pseudonyms(table)
    cast = to_ballots(table.votes, called)
    computed = finals(dataset, table, min_votes=min_votes)
    ballots = [ballot for own in cast.values() for ballot in own]
    summary: dict[str, Any] = {
        "format": format_,
        "output": str(out),
        "groups": len(cast),
        "voters": len({ballot.voter for ballot in ballots}),
        "votes": len(table.votes),
        "surplus": len(table.votes) - len(table.counted),
    }
    try:
        if format_ == "official":
            with replaced_folder(labels) if inside else whole_folder(out) as folder:
                own = folder if inside else folder / "labels"
                summary["files"] = official.write_labels(own, dataset, cast)
                if with_pictures:
                    summary["pictures"] = pictures.write_layout(folder / "images", dataset)
        elif format_ in ("csv", "parquet"):
            write = rows.write_csv if format_ == "csv" else rows.write_parquet
            with atomic_path(out) as temporary:
                summary["rows"] = write(temporary, rows.vote_rows(dataset, cast, computed))
        elif format_ == "preferences":
            pairs = list(pictures.preference_rows(dataset, computed, with_original=with_original))
            if not pairs:
                raise InvalidInput(f"'{dataset.path}' has no two pictures of a group with different labels to export.")
            write_lines(out, pairs)
            summary["pairs"] = len(pairs)
        else:
            with whole_folder(out) as folder:
                if format_ == "positives":
                    summary["pairs"] = pictures.write_positives(folder, dataset, computed)
                else:
                    summary["rows"] = pictures.write_huggingface(folder, dataset, computed)
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{brief(error.object)} holds characters that are no text; rename it first.") from error
    return summary


def import_labels(
    path: Path,
    source: Path,
    format_: str | None = None,
    *,
    overwrite: bool = False,
    dry_run: bool = False,
    database: str | None = None,
) -> dict[str, Any]:
    """Take the votes of `source` into the dataset at `path` as label files; what was done, as the JSON has it.

    The format is guessed where it is None. Everything is checked before anything is written: InvalidInput names
    every problem (the first 20 by their place). `dry_run` only checks.
    """
    dataset = Dataset.open(path)
    if not source.exists():
        raise InvalidInput(f"'{source}' does not exist.")
    format_ = _guess_format(source) if format_ is None else format_
    if format_ not in IMPORT_FORMATS:
        raise unknown_name("format", format_, IMPORT_FORMATS)
    if not (source.is_dir() if format_ == "official" else source.is_file()):
        kind = "a folder" if format_ == "official" else "a file"
        raise InvalidInput(f"'{source}' is not {kind}, which labels as {format_} are.")
    if not dry_run:
        bring_back(dataset.path / "labels")
    problems = Problems(source)
    reader = rows.RowReader(source, dataset, problems)
    answers = (
        official.read_label_folder(official.find_labels(source), dataset, problems)
        if format_ == "official"
        else reader.read(format_)
    )
    ballots = collect(answers, dataset, problems)
    plan = plan_import(dataset, ballots, problems, overwrite=overwrite, database=database)
    problems.raise_if_any()
    if not ballots:
        raise InvalidInput(f"'{source}' holds no votes that count.")
    if not dry_run:
        carry_out(dataset, plan)
    return {
        "format": format_,
        "source": str(source),
        "dry_run": dry_run,
        "groups": len({ballot.group for ballot in ballots}),
        "voters": len({ballot.voter for ballot in ballots}),
        "votes": sum(len(ballot.labels) for ballot in ballots),
        "surplus": reader.surplus,
        "written": len(plan.texts) - plan.replaced,
        "replaced": plan.replaced,
        "skipped": plan.skipped,
    }


def export_text(summary: Mapping[str, Any]) -> str:
    """What `export_labels` did, for people."""
    made = {key: summary[key] for key in ("files", "rows", "pairs", "pictures") if key in summary}
    if isinstance(made.get("rows"), dict):
        made["rows"] = " and ".join(f"{count} {split}" for split, count in made["rows"].items())
    told = ", ".join(f"{count} {name}" for name, count in made.items())
    late = summary["surplus"]
    return (
        f"{summary['output']}: {told}, from {summary['votes'] - late} votes of {summary['voters']} voters on "
        f"{summary['groups']} groups."
        + (f" {late} late votes do not count{'' if 'rows' in summary else ' and were left out'}." if late else "")
    )


def import_text(summary: Mapping[str, Any]) -> str:
    """What `import_labels` did, for people."""
    verb = "would be" if summary["dry_run"] else "were"
    late = summary["surplus"]
    return (
        f"{summary['votes']} votes of {summary['voters']} voters on {summary['groups']} groups: {summary['written']} "
        f"label files {verb} written, {summary['replaced']} replaced, {summary['skipped']} are there already."
        + (f" {late} votes that do not count {verb} left out." if late else "")
    )


def _guess_format(source: Path) -> str:
    """A folder is official; a file goes by its ending."""
    if source.is_dir():
        return "official"
    format_ = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}.get(source.suffix.lower())
    if format_ is None:
        raise InvalidInput(
            f"'{source}' has no ending that says what it is.", hint="Give --format csv or --format parquet."
        )
    return format_
