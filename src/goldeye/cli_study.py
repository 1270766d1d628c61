"""The `study` commands: a blind user study of pairs, or mean opinion scores."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from goldeye.cli_annotate import NOT_SERVED, BaseUrl, Host, Name, Port, Proxies, PublicUrl, serving_text
from goldeye.cli_output import Database, Form, Json, Output, Quiet, Seed, print_document

study_app = typer.Typer(
    no_args_is_help=True,
    help="Ask people which version of a picture they prefer, or how good it is: blind, with intervals.",
)

StudyFolder = Annotated[Path, typer.Argument(metavar="STUDY", help="A study that `study create` made.")]


@study_app.command("create")
def study_create(
    methods: Annotated[list[str], typer.Argument(metavar="A=DIR B=DIR…", help="The methods' folders of pictures.")],
    output: Output,
    reference: Annotated[Path | None, typer.Option(help="Pictures to show beside, such as the ground truth.")] = None,
    lr: Annotated[Path | None, typer.Option(help="The LR pictures, which people may look at.")] = None,
    mos: Annotated[bool, typer.Option("--mos", help="Rate each picture beside the reference, 0 to 5 (EDL).")] = False,
    number: Annotated[
        int | None, typer.Option("-n", "--number", min=1, help="Pictures to draw (all; --mos: at most 100).")
    ] = None,
    votes: Annotated[
        int | None, typer.Option(min=1, max=1000, help="People who judge each item (12; --mos: 20).")
    ] = None,
    checks: Annotated[int | None, typer.Option(min=0, help="Attention checks (up to 4).")] = None,
    title: Annotated[str | None, typer.Option(help="What people are asked.")] = None,
    exclude: Annotated[
        list[Path] | None, typer.Option(help="A dataset whose annotators may not take part; may be given again.")
    ] = None,
    seed: Seed = 0,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a study of pictures with the same names in several folders."""
    from goldeye.study.create import create_study, created_text, parse_methods

    made = create_study(
        output,
        parse_methods(methods),
        mos=mos,
        reference=reference,
        lr=lr,
        number=number,
        votes=votes,
        checks=checks,
        seed=seed,
        title=title,
        exclude=exclude or (),
    )
    print_document("study", made, json_, lambda: created_text(made))


@study_app.command("serve")
def study_serve(
    study: StudyFolder,
    database: Database = None,
    host: Host = "127.0.0.1",
    port: Port = 8600,
    base_url: PublicUrl = None,
    trusted_proxy: Proxies = None,
    guideline: Annotated[Path | None, typer.Option(help="Your own guideline: Markdown, pictures beside it.")] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Print a new link for the owner; the old one ends.")] = False,
    json_: Json = False,
) -> None:
    """Serve a study until Ctrl-C."""
    from goldeye.annotate.run import Address
    from goldeye.study.run import serve_study

    def ready(found: dict[str, Any]) -> None:
        print_document("study", found, json_, lambda: serving_text(found, f"{found['items']} items"))
        sys.stdout.flush()

    address = Address(host, port, base_url, tuple(trusted_proxy or ()))
    serve_study(study, address=address, database=database, guideline=guideline, renew=renew, ready=ready)


@study_app.command("invite")
def study_invite(
    study: StudyFolder,
    name: Name,
    database: Database = None,
    base_url: BaseUrl = None,
    renew: Annotated[bool, typer.Option("--renew", help="Replace the person's earlier link.")] = False,
    json_: Json = False,
) -> None:
    """Print a person's own link (once; it is not stored readably); annotators of excluded datasets are refused."""
    from goldeye.annotate.server import person_link
    from goldeye.study.run import open_study

    with open_study(study, database) as (_, store):
        token = store.invite(name, renew=renew)
        link = person_link(base_url or store.remembered("address") or NOT_SERVED, token)
    print_document("study", {"name": name, "link": link}, json_, lambda: link)


@study_app.command("results")
def study_results(
    study: StudyFolder,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write results.json, csv files and a chart here, too.")
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=0, max=1_000_000, help="Resamples for intervals; 0: none.")] = 1000,
    exclude_failed: Annotated[
        bool, typer.Option("--exclude-failed", help="Leave out people who failed the checks or followed a side.")
    ] = False,
    names: Annotated[bool, typer.Option("--names", help="People's names, not pseudonyms.")] = False,
    database: Database = None,
    seed: Seed = 0,
    form: Form = "text",
    json_: Json = False,
) -> None:
    """Preferences or opinion scores with intervals, by method, picture and person."""
    from goldeye.study.report import results_text
    from goldeye.study.run import results_of

    found = results_of(
        study,
        database=database,
        output=output,
        names=names,
        bootstrap=bootstrap,
        seed=seed,
        exclude_flagged=exclude_failed,
    )
    print_document("study", found, json_ or form == "json", lambda: results_text(found, form))
