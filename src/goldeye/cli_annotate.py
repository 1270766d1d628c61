"""The `annotate` commands: the web application of a dataset, its people, its gold items."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from goldeye.cli_output import Database, Json, print_document
from goldeye.errors import InvalidInput


class WithDefault(TyperGroup):
    """A command that is also a group: what is not the name of a subcommand goes to the command `serve`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["serve", *args]
        return super().parse_args(ctx, _each_from(args))


def _each_from(args: list[str]) -> list[str]:
    """`--from A=DIR B=DIR` as `--from A=DIR --from B=DIR`, which is what the parser knows."""
    found: list[str] = []
    listing = False
    for word in args:
        listing = word == "--from" or (listing and "=" in word and not word.startswith("-"))
        if listing and word != "--from" and found[-1] != "--from":
            found.append("--from")
        found.append(word)
    return found


annotate_app = typer.Typer(
    cls=WithDefault,
    no_args_is_help=True,
    help=(
        "Label candidates in the browser: `annotate DATASET` serves the web application, "
        "`annotate invite DATASET NAME` prints a person's link."
    ),
)

Labelling = Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset that `goldeye select` wrote.")]
Name = Annotated[str, typer.Argument(help="The person's name.")]
BaseUrl = Annotated[str | None, typer.Option(help="Where people reach the server (default: as it was last served).")]
NOT_SERVED = "http://127.0.0.1:8600"  # what links begin with before a server ran
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]
PublicUrl = Annotated[str | None, typer.Option(help="The address that people use, when it is another.")]
Proxies = Annotated[
    list[str] | None, typer.Option(help="A proxy whose X-Forwarded headers are believed; may be given again.")
]


def _votes(text: str | None) -> str | int | None:
    if text is None or text == "adaptive":
        return text
    if not text.isdecimal():
        raise InvalidInput(f"--votes takes a number or the word adaptive, not '{text}'.")
    if int(text) < 1:
        raise InvalidInput(f"A group needs at least 1 vote, not {text}.")
    return int(text)


def _absolute(path: str | None) -> str | None:
    """A path that another start of the server finds, whatever folder it is started in."""
    return path if path in (None, "none") else str(Path(path).absolute())


def _quota(text: str | None) -> str | None:
    if text not in (None, "none") and not (text or "").isdecimal():
        raise InvalidInput(f"--quota takes a number of groups, or the word none, not '{text}'.")
    return text


def _refuse_wrong(changes: dict[str, Any]) -> None:
    """Name the option that cannot be, before anything is made."""
    from pydantic import ValidationError

    from goldeye.annotate.settings import AnnotationSettings

    try:
        AnnotationSettings(**{key: None if value == "none" else value for key, value in changes.items()})
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).removesuffix("_minutes").replace("_", "-")
        raise InvalidInput(f"Invalid value for '--{option}': {first['msg']}, not {first['input']}.") from error


@annotate_app.command("serve")
def annotate_serve(
    dataset: Labelling,
    database: Database = None,
    host: Host = "127.0.0.1",
    port: Port = 8600,
    base_url: PublicUrl = None,
    trusted_proxy: Proxies = None,
    votes: Annotated[
        str | None, typer.Option(help="Votes per group (3), or adaptive: a third only where two differ.")
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(
            help="What comes next: random (default; begun groups first), disagreement, or own (begun or not)."
        ),
    ] = None,
    quota: Annotated[str | None, typer.Option(help="Groups a person may do, or none.")] = None,
    lease: Annotated[float | None, typer.Option(help="Minutes until abandoned work goes to others (30).")] = None,
    gold_rate: Annotated[float | None, typer.Option(help="Share of gold items, where there are any (0.05).")] = None,
    repeat_rate: Annotated[float | None, typer.Option(help="Share of groups shown a second time (0).")] = None,
    pass_mark: Annotated[
        float | None, typer.Option(help="Share of right labels that passes the qualification (0.75).")
    ] = None,
    guideline: Annotated[
        str | None, typer.Option(help="Your own guideline, Markdown with pictures beside it; or none.")
    ] = None,
    lr: Annotated[
        str | None, typer.Option(help="A folder of LR inputs that people may look at, named as the groups; or none.")
    ] = None,
    from_: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="NAME=DIR…", help="Candidates from folders; makes DATASET first."),
    ] = None,
    photos: Annotated[Path | None, typer.Option(help="With --from: the originals.")] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Print a new link for the owner; the old one ends.")] = False,
    json_: Json = False,
) -> None:
    """Serve the web application until Ctrl-C; the word `serve` may be left out.

    Votes, order, quota, lease, rates, pass mark, guideline and LR inputs stay until they are given again.
    """
    from goldeye.annotate.run import Address, dataset_from_folders, serve_dataset

    changes = {
        "votes": _votes(votes),
        "order": order,
        "quota": _quota(quota),
        "lease_minutes": lease,
        "gold_rate": gold_rate,
        "repeat_rate": repeat_rate,
        "pass_mark": pass_mark,
        "guideline": _absolute(guideline),
        "lr": _absolute(lr),
    }
    _refuse_wrong({key: value for key, value in changes.items() if value is not None})
    address = Address(host, port, base_url, tuple(trusted_proxy or ()))
    if bool(from_) != (photos is not None):
        raise InvalidInput("--from NAME=DIR and --photos DIR go together: candidates and their originals.")
    if from_ and photos is not None:
        dataset_from_folders(dataset, photos, from_)

    def ready(found: dict[str, Any]) -> None:
        print_document("annotate", found, json_, lambda: serving_text(found, f"{found['groups']} groups"))
        sys.stdout.flush()

    serve_dataset(
        dataset,
        address=address,
        changes=changes,
        database=database,
        renew=renew,
        ready=ready,
    )


def serving_text(found: dict[str, Any], what: str) -> str:
    """What a server of `what`, such as "12 groups", says once it is open."""
    lines = [
        f"Serving {what} at {found['address']} (Ctrl-C stops; every answer is saved when given).",
        f"Invited: {', '.join(found['people']) or 'nobody yet'}; complete votes: {found['votes']}.",
        f"Invite with: {found['invite']}",
    ]
    if found["owner_link"]:
        lines.append(f"Your own page (this link is printed once; --renew replaces it): {found['owner_link']}")
    else:
        lines.append(
            f"Your own page: {found['owner_page']} (your link was printed at an earlier start; --renew: a new one)"
        )
    return "\n".join([*lines, *([f"Warning: {found['warning']}"] if found["warning"] else [])])


@annotate_app.command("invite")
def annotate_invite(
    dataset: Labelling,
    name: Name,
    database: Database = None,
    base_url: BaseUrl = None,
    owner: Annotated[bool, typer.Option("--owner", help="An owner, who sees everything.")] = False,
    quota: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Groups this person may do.")] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Replace the person's earlier link.")] = False,
    json_: Json = False,
) -> None:
    """Print a person's own link (once; it is not stored readably)."""
    from goldeye.annotate.run import open_store
    from goldeye.annotate.server import person_link

    with open_store(dataset, database, make=database is None) as (_, store):
        token = store.invite(name, "owner" if owner else "annotator", quota=quota, renew=renew)
        people = store.people()
        role = next(one.role for one in people if one.name == name.strip())
        link = person_link(base_url or store.remembered("address") or NOT_SERVED, token, role)
        first = len(people) == 1
    if first:
        typer.echo(f"note: a new annotation was begun in {store.name}", err=True)
    print_document("annotate", {"name": name, "link": link}, json_, lambda: link)


@annotate_app.command("people")
def annotate_people(dataset: Labelling, database: Database = None, json_: Json = False) -> None:
    """Who was invited, and how much they did."""
    from goldeye.annotate.run import open_store
    from goldeye.dataset.tables import Table, text_table

    with open_store(dataset, database) as (_, store):
        done = store.progress().by_person
        people = [
            {
                "name": one.name,
                "role": one.role,
                "state": one.state,
                "qualification": one.qualified,
                "quota": one.quota,
                "done": done.get(one.name, 0),
            }
            for one in store.people()
        ]
    header = ["name", "role", "state", "qualification", "quota", "groups done"]
    rows = [["" if value is None else str(value) for value in one.values()] for one in people]
    text = text_table(Table(f"{len(people)} people", header, rows))
    print_document("annotate", {"people": people}, json_, lambda: text)


def _change(dataset: Path, database: str | None, name: str, action: str, as_json: bool) -> None:
    from goldeye.annotate.run import open_store

    with open_store(dataset, database) as (_, store):
        if action == "revoke":
            store.revoke(name)
        elif action == "forget":
            called = store.forget(name)
        else:
            store.pause(name, action == "pause")
    told = {
        "pause": f"{name} gets no new group until `annotate resume`.",
        "resume": f"{name} gets groups again.",
        "revoke": f"{name}'s link and sessions are not valid any more; the votes stay and count.",
    }
    document = {"name": name, "action": action}
    if action == "forget":
        told[action] = f"{name} is forgotten; the votes stay under {called}."
        document = {"name": called, "action": action}
    print_document("annotate", document, as_json, lambda: told[action])


@annotate_app.command("pause")
def annotate_pause(dataset: Labelling, name: Name, database: Database = None, json_: Json = False) -> None:
    """Give a person no new group for now."""
    _change(dataset, database, name, "pause", json_)


@annotate_app.command("resume")
def annotate_resume(dataset: Labelling, name: Name, database: Database = None, json_: Json = False) -> None:
    """Give a paused person groups again."""
    _change(dataset, database, name, "resume", json_)


@annotate_app.command("revoke")
def annotate_revoke(dataset: Labelling, name: Name, database: Database = None, json_: Json = False) -> None:
    """Shut a person out at once; their votes stay and count."""
    _change(dataset, database, name, "revoke", json_)


@annotate_app.command("forget")
def annotate_forget(
    dataset: Labelling,
    name: Name,
    database: Database = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json_: Json = False,
) -> None:
    """Remove a person's name for good; their votes stay under a pseudonym."""
    if not yes:
        if json_ or not sys.stdin.isatty():
            raise InvalidInput(f"Forgetting '{name}' cannot be taken back: add --yes.")
        typer.confirm(f"Forget '{name}' for good?", abort=True)
    _change(dataset, database, name, "forget", json_)


@annotate_app.command("qualify")
def annotate_qualify(
    dataset: Labelling,
    name: Name,
    again: Annotated[bool, typer.Option("--again", help="Let the person try the practice groups once more.")] = False,
    database: Database = None,
    json_: Json = False,
) -> None:
    """Let a person work without the qualification, or try it again."""
    from goldeye.annotate.run import open_store

    with open_store(dataset, database) as (_, store):
        store.qualify(name, passed=not again)
    text = f"{name} may try the practice groups again." if again else f"{name} counts as qualified."
    print_document("annotate", {"name": name, "qualification": None if again else "passed"}, json_, lambda: text)


@annotate_app.command("gold")
def annotate_gold(
    dataset: Labelling,
    table: Annotated[Path, typer.Argument(help="A csv: group, candidate, label, and if wanted note.")],
    qualification: Annotated[
        bool, typer.Option("--qualification", help="For the round before the work, with feedback.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Make the groups of the table normal again.")] = False,
    database: Database = None,
    json_: Json = False,
) -> None:
    """Make groups gold items, whose right labels are known; they get no votes of their own."""
    from goldeye.annotate.run import set_gold_items

    if not table.is_file():
        raise InvalidInput(f"There is no file '{table}'.")
    if remove and qualification:
        raise InvalidInput("--remove and --qualification exclude each other.")
    kind = None if remove else "qualification" if qualification else "gold"
    count, remarks = set_gold_items(dataset, table, kind, database)
    document = {"groups": count, "kind": kind or "normal", "remarks": remarks}
    word = kind or "normal"
    text = f"1 group is a {word} item now." if count == 1 else f"{count} groups are {word} items now."
    print_document("annotate", document, json_, lambda: " ".join([text, *remarks]))


@annotate_app.command("backup")
def annotate_backup(
    dataset: Labelling,
    output: Annotated[Path, typer.Option("-o", "--output", help="The new file.")],
    database: Database = None,
    json_: Json = False,
) -> None:
    """Copy the SQLite store, whole and in use; PostgreSQL has pg_dump."""
    from goldeye.annotate.run import backup

    votes = backup(dataset, database, output)
    print_document("annotate", {"backup": str(output), "answers": votes}, json_, lambda: f"{output}: {votes} answers")
