"""The command ``avatarpool``.

Each command imports what it alone needs when it runs; the others and ``--help``
do without it.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from avatarpool.cli import gateway_command
from avatarpool.cli.env_file import EnvFile
from avatarpool.cli.exit_codes import INTERRUPTED, MISUSED
from avatarpool.cli.help import Commands
from avatarpool.cli.options import (
    AnimationFormat,
    DriverName,
    basis_or_local,
    file_or_dash,
    not_empty,
    number,
    per_second,
    seconds,
    there_or_piped,
    writable,
)
from avatarpool.cli.streams import open_missing_streams
from avatarpool.exceptions import AvatarPoolError, ConfigurationError
from avatarpool.soak.plan import FaultMix, SoakPlan

app = typer.Typer(
    name="avatarpool",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    # With locals in tracebacks, keys and tokens would be shown.
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(gateway_command.app)


def main() -> None:
    """Run the command line; what is expected to fail fails in one sentence."""
    try:
        open_missing_streams()
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except AvatarPoolError as error:
        typer.echo(f"avatarpool: {error}", err=True)
        sys.exit(MISUSED if isinstance(error, ConfigurationError) else 1)
    except OSError as error:
        typer.echo(f"avatarpool: {error}", err=True)
        sys.exit(1)


def _show_version(value: bool) -> None:  # noqa: FBT001 - typer's callback
    if value:
        from avatarpool import __version__  # noqa: PLC0415

        typer.echo(f"avatarpool {__version__}")
        raise typer.Exit


@app.callback()
def avatarpool(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Warm avatar sessions, lent one request at a time.

    Commands use the service that the AVATAR_* environment variables name. With
    none of them set, they start a local one: no account is needed. The file of
    --env-file may name it as well.

    \b
    Examples:
      avatarpool run --interval 2
      avatarpool service
      avatarpool doctor --env-file .env
    """  # noqa: D301 - \b tells click to keep the lines


@app.command()
def run(
    *,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, one after another.")] = 10,
    requests: Annotated[int, typer.Option(min=1, help="Concurrent requests per round.")] = 5,
    interval: Annotated[float, seconds("Seconds between rounds.", min=0)] = 30.0,
    pool_size: Annotated[int, typer.Option(min=1, help="Connections to maintain.")] = 3,
    ttl: Annotated[float, number("Session time-to-live in minutes.", min=1, max=24 * 60)] = 10,
    timeout: Annotated[float, seconds("Seconds for each request.")] = 45,
    audio: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Speech to send: WAV, MP3, M4A..., or raw .pcm."
        ),
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            writable=True,
            callback=writable,
            help="Write the results to this file too.",
        ),
    ] = None,
    _env_file: EnvFile = None,
) -> None:
    """Send rounds of requests through a pool, and report.

    Exits 0 if every request succeeded, 1 if any failed, 130 after Ctrl-C, which
    closes the pool and still prints the summary.

    \b
    Examples:
      avatarpool run                    five minutes, as the defaults say
      avatarpool run --interval 2       the same work in half a minute
      avatarpool run --rounds 1 --requests 200 --pool-size 20
      avatarpool run --audio clip.wav --json results.json
      avatarpool run --env-file .env
    """  # noqa: D301 - \b tells click to keep the lines
    from avatarpool.cli.loop import run_in_loop  # noqa: PLC0415
    from avatarpool.cli.run import RunOptions, run  # noqa: PLC0415
    from avatarpool.environment import read_settings  # noqa: PLC0415
    from avatarpool.load import LoadPlan  # noqa: PLC0415

    options = RunOptions(LoadPlan(rounds, requests, interval, pool_size), ttl, timeout, audio, json)
    raise typer.Exit(run_in_loop(run(options, read_settings())))


@app.command()
def service(
    *,
    host: Annotated[
        str, typer.Option(callback=not_empty, help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 is any free one.")] = 8765,
    max_connections: Annotated[
        int, typer.Option(min=1, help="Sessions at once; beyond it 4003.")
    ] = 256,
    max_session_duration: Annotated[
        float, seconds("Seconds until a session is ended with 4002.")
    ] = 3600.0,
    idle_timeout: Annotated[
        float, seconds("Seconds without audio until a session is ended.")
    ] = 300.0,
    credits: Annotated[  # noqa: A002 - the option's name
        float | None,
        number("Seconds of audio until 4001; left out: unlimited.", min=0),
    ] = None,
    driver: Annotated[
        DriverName,
        typer.Option(help="What moves the lips: trained, by arithmetic alone, or a timeline."),
    ] = DriverName.MODEL,
    timeline: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help='For visemes: JSON such as [[0, "sil"], [80, "PP"], [160, "aa"]], in ms.',
        ),
    ] = None,
    admin: Annotated[
        bool, typer.Option("--admin", help="Take faults over HTTP at /admin/faults.")
    ] = False,
    _env_file: EnvFile = None,
) -> None:
    """Run the local avatar service until Ctrl-C.

    The lines that it prints to standard output set a shell up for it; notes go
    to standard error. Its API key is the variable AVATAR_API_KEY, or a random
    one if that is not set.

    \b
    Examples:
      avatarpool service
      avatarpool service --port 0 --max-connections 2
      avatarpool service --driver visemes --timeline speech.json
      avatarpool service --admin
      avatarpool service > service.env &     then: . ./service.env
    """  # noqa: D301 - \b tells click to keep the lines
    from avatarpool.cli.driver import driver_factory  # noqa: PLC0415
    from avatarpool.cli.loop import run_in_loop  # noqa: PLC0415
    from avatarpool.cli.service import serve  # noqa: PLC0415
    from avatarpool.service import ServiceLimits  # noqa: PLC0415

    limits = ServiceLimits(
        max_connections=max_connections,
        max_session_duration=max_session_duration,
        idle_timeout=idle_timeout,
        credits=credits,
    )
    make_driver = driver_factory(driver, timeline)
    raise typer.Exit(run_in_loop(serve(host, port, limits, make_driver, has_admin=admin)))


@app.command()
def soak(
    *,
    minutes: Annotated[
        float, number("Minutes of load; closing takes some seconds more.", min=0.01, max=24 * 60)
    ] = 5.0,
    faults: Annotated[FaultMix, typer.Option(help="Which faults to make.")] = FaultMix.MIXED,
    connections: Annotated[int, typer.Option(min=1, max=200, help="Size of the pool.")] = 5,
    borrowers: Annotated[
        int, typer.Option(min=1, max=2000, help="Tasks that make requests at the same time.")
    ] = 20,
    seed: Annotated[
        int | None, typer.Option(help="Choose faults and requests as that run did.")
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            writable=True,
            callback=writable,
            help="Write the report to this file too.",
        ),
    ] = None,
) -> None:
    """Soak a pool: random faults against random load, and what must hold.

    Everything runs on a local service in this process; the AVATAR_* variables are
    not used. Calm and faults take turns. Frames that belong to another request,
    failures while it is calm, a pool that does not heal, leaked tasks, sockets and
    memory are violations: exits 0 without any, 1 with some, 130 after Ctrl-C, which
    ends the load and still reports.

    \b
    Faults:
      opening    token errors, refusals and delays, refused upgrades, stalls
      sessions   resets, closing, garbage, wrong ids, late frames, half-open peers
      restarts   the service goes away and comes back, strict about its limits too
      mixed      all of these, one after another and all at once
      none       load alone: nothing may fail

    \b
    Examples:
      avatarpool soak
      avatarpool soak --minutes 30 --faults mixed --json report.json
      avatarpool soak --minutes 1 --faults none --borrowers 100
    """  # noqa: D301 - \b tells click to keep the lines
    from avatarpool.cli.loop import run_in_loop  # noqa: PLC0415
    from avatarpool.cli.soak import run_soak  # noqa: PLC0415

    seed = secrets.randbelow(2**32) if seed is None else seed
    plan = SoakPlan(minutes * 60, connections, borrowers, faults, seed)
    raise typer.Exit(run_in_loop(run_soak(plan, json)))


@app.command()
def view(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 is any free one.")] = 8770,
    pool_size: Annotated[int, typer.Option(min=1, help="Connections to maintain.")] = 2,
    timeout: Annotated[float, seconds("Seconds in which each frame must come.")] = 15.0,
    open: Annotated[  # noqa: A002 - the option's name
        bool, typer.Option("--open", help="Open the page in a browser, too.")
    ] = False,
    _env_file: EnvFile = None,
) -> None:
    """Show a face that speaks, on a page, until Ctrl-C.

    Prints the page's address, which this machine alone can open. The page takes
    a file, the microphone or a sample, has it animated through a pool, and
    plays the audio with the face in step.

    \b
    Examples:
      avatarpool view --open
      avatarpool view --port 0 --pool-size 4
    """  # noqa: D301 - \b tells click to keep the lines
    from avatarpool.cli.loop import run_in_loop  # noqa: PLC0415
    from avatarpool.cli.view import ViewOptions, view  # noqa: PLC0415
    from avatarpool.environment import read_settings  # noqa: PLC0415

    raise typer.Exit(
        run_in_loop(view(ViewOptions(port, pool_size, timeout, open), read_settings()))
    )


@app.command()
def animate(
    *,
    speech: Annotated[
        Path,
        typer.Argument(
            callback=there_or_piped,
            help="WAV, MP3, M4A..., or raw .pcm; a folder of them; or - for standard input.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="File to write, or - for standard output; for a folder, the folder of outputs.",
        ),
    ],
    format: Annotated[  # noqa: A002 - the option's name
        AnimationFormat | None,
        typer.Option(
            help="Of a folder's outputs and of standard output (jsonl if left out); a file's is "
            "its suffix."
        ),
    ] = None,
    basis: Annotated[
        Path | None,
        typer.Option(
            callback=basis_or_local,
            metavar="FILE|local",
            help="What the service's expression means, for other faces; its own is known of a "
            "local service that this command starts.",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Model that glb animates: a GLB."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Make outputs anew, whatever they were made of.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep outputs, whatever they were made of.")
    ] = False,
    pool_size: Annotated[
        int, typer.Option(min=1, max=200, help="Connections to maintain: clips at the same time.")
    ] = 3,
    ttl: Annotated[float, number("Session time-to-live in minutes.", min=1, max=24 * 60)] = 10,
    timeout: Annotated[float, seconds("Seconds in which each frame must come.")] = 15.0,
    json: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            writable=True,
            callback=writable,
            help="Write what became of each clip to this file too.",
        ),
    ] = None,
    _env_file: EnvFile = None,
) -> None:
    """Animate speech: a file, or a folder of them, through a pool.

    What the output is depends on its suffix:

    \b
      .json    an object with a list of keyframes
      .jsonl   a JSON object per keyframe, with its time
      .npz     numpy arrays, a row per keyframe
      .pb      the service's messages as they came
      .mp4     the face of "avatarpool view", with the sound
      .gif     ... without it
      .png     ... at 24 moments, in one picture

    Or for a face that you have:

    \b
      .arkit.json     ARKit's 52 weights, and the turns of head and eyes
      .arkit.csv      ... as Live Link Face records them
      .visemes.json   the 15 Oculus visemes
      .rhubarb.json   drawn mouths with their times, as Rhubarb writes them
      .rhubarb.tsv    ... in its other form
      .papagayo.dat   ... as Papagayo writes them for Moho, 24 frames a second
      .glb            the glTF model of --model, its morph targets moved

    Pictures need the extra "render", and are painted by all cores.

    An output carries the SHA-256 of its speech file. One that was made of the
    very same file, and is not older than it, is kept; every other one is made
    anew. So the same command goes on where it was interrupted. An output is
    there when it is whole. (.csv, .tsv and .dat have no place for it, and are
    made anew each time.)

    A clip that fails stops no other one and is named at the end. Exits 0 if
    every output is there, 1 if any is not, 130 after Ctrl-C.

    \b
    Examples:
      avatarpool animate speech.wav -o speech.jsonl
      avatarpool animate speech.wav -o speech.mp4
      avatarpool animate clips/ -o animations/ --format npz
      avatarpool animate speech.wav -o speech.arkit.csv
      avatarpool animate speech.wav -o speaks.glb --model head.glb
      espeak-ng --stdout "hi" | avatarpool animate - -o hi.json
      avatarpool animate a.wav -o - --format json | jq .seconds
    """  # noqa: D301 - \b tells click to keep the lines
    from avatarpool.cli.animate import animate  # noqa: PLC0415
    from avatarpool.cli.animation_plan import AnimateOptions  # noqa: PLC0415
    from avatarpool.environment import read_settings  # noqa: PLC0415

    options = AnimateOptions(
        speech, output, format, force, keep, pool_size, ttl, timeout, json, basis, model
    )
    raise typer.Exit(animate(options, read_settings()))


@app.command()
def fleet(
    *,
    name: Annotated[str, typer.Option(callback=not_empty, help="The account's name in Redis.")],
    redis: Annotated[
        str,
        typer.Option(
            envvar="AVATAR_REDIS_URL",
            show_envvar=True,
            callback=not_empty,
            help="URL of Redis or Valkey; one with a password is better kept in the variable.",
        ),
    ] = "redis://127.0.0.1:6379/0",
    sessions: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="Change the number of sessions for all, at once."),
    ] = None,
    init: Annotated[
        bool,
        typer.Option(
            "--init", help="Lease at once, where nobody has a session open: at a first start."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON, once.")] = False,
    _env_file: EnvFile = None,
) -> None:
    """Show who has leased an account's sessions, and change how many there are.

    For processes and hosts that share an account with RedisBudget. On a terminal the
    table is live until Ctrl-C; elsewhere, and after a change, it is printed once.

    A Redis that is empty gives no leases for the time that one lasts, since sessions may
    be open that it has forgotten; --init says that there are none.

    \b
    Examples:
      avatarpool fleet --name account
      avatarpool fleet --name account --init --sessions 10
      avatarpool fleet --name account --sessions 12
      avatarpool fleet --redis redis://10.0.0.5:6379/0 --name account --json
    """  # noqa: D301 - \b tells click to keep the lines
    from avatarpool.cli.fleet import FleetOptions, fleet  # noqa: PLC0415
    from avatarpool.cli.loop import run_in_loop  # noqa: PLC0415

    options = FleetOptions(name, sessions, init, json)
    raise typer.Exit(run_in_loop(fleet(redis, options)))


@app.command()
def doctor(
    *,
    timeout: Annotated[float, seconds("Seconds for each step.")] = 10.0,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object in place of the lines.")
    ] = False,
    _env_file: EnvFile = None,
) -> None:
    """Say which step to an answer fails, and what to do.

    The steps: environment, token, connection, handshake, one request. Exits 0
    if all of them work, 1 if one fails, 2 if the environment cannot work.

    \b
    Examples:
      avatarpool doctor
      avatarpool doctor --timeout 3
      avatarpool doctor --json --env-file .env
    """  # noqa: D301 - \b tells click to keep the lines
    from avatarpool.cli.doctor import examine  # noqa: PLC0415
    from avatarpool.cli.loop import run_in_loop  # noqa: PLC0415

    raise typer.Exit(run_in_loop(examine(timeout, is_json=json)))


@app.command()
def plan(
    *,
    arrivals: Annotated[
        float | None,
        typer.Option(
            parser=per_second, metavar="RATE", help="Borrowers: 4/s, 240/min, 14400/h, or 4."
        ),
    ] = None,
    duration: Annotated[float | None, seconds("Mean seconds for which one has a session.")] = None,
    duration_cv: Annotated[
        float | None,
        number(
            "Spread of these: standard deviation over mean. 0: all equal; 1 if left out.",
            min=0,
            max=100,
        ),
    ] = None,
    wait_p99: Annotated[
        float, seconds("Seconds that 99 % of the borrowers wait at most.", min=0)
    ] = 0.3,
    budget: Annotated[
        int | None, typer.Option(min=1, max=200_000, help="Sessions that the account allows.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            callback=file_or_dash,
            help="JSON of get_stats() or of run --json, for what is left out; - is standard input.",
        ),
    ] = None,
    over: Annotated[
        float | None,
        number("Seconds that get_stats() covers; run --json knows.", min=0.001, max=1e9),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how many sessions a load needs, and how long its borrowers wait.

    For borrowers that come one by one (Erlang C, corrected by the spread of the
    durations). Shown are the number needed, one less and one more: how busy
    sessions are, which part of the borrowers waits at all, and for how long.
    Exits 0, or 1 if --budget is fewer than needed.

    \b
    Examples:
      avatarpool plan --arrivals 4/s --duration 3.2 --wait-p99 0.3
      avatarpool plan --arrivals 240/min --duration 3.2 --duration-cv 0.5 --budget 15
      avatarpool plan --from metrics.json --over 3600 --json
      avatarpool plan --from metrics.json --arrivals 9/s
    """  # noqa: D301 - \b tells click to keep the lines
    from avatarpool.cli.plan import PlanOptions, plan  # noqa: PLC0415

    options = PlanOptions(
        arrivals, duration, duration_cv, wait_p99, budget, source, over, is_json=json
    )
    raise typer.Exit(plan(options))
