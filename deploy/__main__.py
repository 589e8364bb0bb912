"""`python -m deploy up | status | logs | update | rollback | down | secret | plan`."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deploy import api, config, desired, endpoint, plan, secrets_env, status
from deploy.api import Api, Request
from deploy.config import EndpointConfig
from deploy.errors import DeployError
from heimdex_clip.errors import ClipError

_VARIABLES = """\
For the calling service:
  CLIP_INFERENCE_BACKEND=runpod
  RUNPOD_CLIP_ENDPOINT_ID={id}
  RUNPOD_TIMEOUT_S=60
  RUNPOD_API_KEY=            (a key of its own, allowed to call this endpoint only)
  EMBEDDING_HMAC_SECRET=     (the same that this endpoint was given)"""

Arguments = argparse.Namespace
Environ = Mapping[str, str]


def main(argv: Sequence[str] | None = None, environ: Environ = os.environ) -> int:
    """Run one command; returns the exit code: 0, 1 when it failed with one line, 2 for wrong usage."""
    arguments = _parser().parse_args(argv)
    run: Callable[[Arguments, Environ], int] = arguments.run
    try:
        return run(arguments, environ)
    except ClipError as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m deploy", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[Arguments, Environ], int], about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    remote = {
        "up": command("up", _up, "create the endpoint, or bring it to what the file says"),
        "status": command("status", _status, "workers, queue, execution times, error rate and cost"),
        "logs": command("logs", _logs, "the workers' logs"),
        "update": command("update", _update, "run another image, by its digest"),
        "rollback": command("rollback", _rollback, "run the image that ran before"),
        "down": command("down", _down, "delete the endpoint, its workers and its queue"),
    }
    for added in remote.values():
        added.add_argument("--config", type=Path, default=config.PATH, metavar="FILE", help="default: %(default)s")
        added.add_argument("--api-url", default=api.BASE_URL, help=argparse.SUPPRESS)
        added.add_argument("--jobs-url", default=api.JOBS_URL, help=argparse.SUPPRESS)
    for name in ("up", "update", "rollback", "down"):
        remote[name].add_argument(
            "--dry-run", action="store_true", help="print the requests and send none; needs no key"
        )
    remote["up"].add_argument("--digest", metavar="sha256:...", help="the image's digest; needed the first time")
    remote["up"].add_argument("--diff", action="store_true", help="show what would change, and change nothing")
    remote["update"].add_argument("digest", metavar="sha256:...", help="the new image's digest, as the push printed it")
    remote["rollback"].add_argument("--to", metavar="sha256:...", help="this digest, instead of the one before")
    remote["down"].add_argument("--yes", action="store_true", help="do not ask")
    remote["logs"].add_argument("--worker", metavar="ID", help="this worker only")
    remote["logs"].add_argument("--tail", type=int, default=100, metavar="LINES", help="default: %(default)s")
    remote["logs"].add_argument("--follow", action="store_true", help="of one worker: go on until interrupted")
    for name in ("status", "logs"):
        remote[name].add_argument(
            "--quiet-s",
            type=float,
            default=2.0,
            metavar="SECONDS",
            help="a log is read until nothing came for this long, or for five times that (default: %(default)s)",
        )
    command("secret", _secret, "make a signing secret and say where it must go")
    plan.add_arguments(command("plan", _plan, "what each setting would cost, and how long requests would wait"))
    return parser


def _up(arguments: Arguments, environ: Environ) -> int:
    wanted = config.load(arguments.config)
    if arguments.dry_run:
        for request in endpoint.dry_up(wanted, endpoint.image_for(wanted, arguments.digest, None)):
            _show(request, arguments.api_url)
        print("If an endpoint of that name exists, the second request is a PATCH of the fields that differ instead.")
        return 0
    values = secrets_env.read(wanted, environ)
    with _client(arguments, environ, tuple(values.values())) as client:
        live = endpoint.find(client, wanted.name)
        body = desired.body(wanted, endpoint.image_for(wanted, arguments.digest, live), values)
        return (
            _create(client, body, wanted, arguments) if live is None else _change(client, live, body, wanted, arguments)
        )


def _create(client: Api, body: desired.Body, wanted: EndpointConfig, arguments: Arguments) -> int:
    print(f"No endpoint is named {wanted.name!r}: it will be made as")
    print(json.dumps(desired.masked(body, wanted.env), indent=2))
    if not arguments.diff:
        _done(client.send(api.create_endpoint(body)))
    return 0


def _change(
    client: Api, live: endpoint.Endpoint, body: desired.Body, wanted: EndpointConfig, arguments: Arguments
) -> int:
    changes = desired.changes(live, body, wanted.env)
    if not changes:
        print(f"{wanted.name} is as {arguments.config.name} says: nothing to change")
    for change in changes:
        print(change)
    if not arguments.diff:
        _done(client.send(api.update_endpoint(str(live["id"]), desired.patch(live, body))) if changes else live)
    return 0


def _done(live: endpoint.Endpoint) -> None:
    if "id" not in live:
        raise DeployError("the platform's answer names no endpoint id; see its console")
    print(f"endpoint {live['id']}")
    print(_VARIABLES.format(id=live["id"]))


def _update(arguments: Arguments, environ: Environ) -> int:
    wanted = config.load(arguments.config)
    image = f"{wanted.repository}@{config.checked_digest(arguments.digest)}"
    if arguments.dry_run:
        return _dry_image(image, arguments)
    with _client(arguments, environ) as client:
        return _set_image(client, endpoint.must_find(client, wanted.name), image)


def _rollback(arguments: Arguments, environ: Environ) -> int:
    wanted = config.load(arguments.config)
    if arguments.dry_run:
        if arguments.to:
            return _dry_image(f"{wanted.repository}@{config.checked_digest(arguments.to)}", arguments)
        _show(api.list_endpoints(), arguments.api_url)
        _show(api.list_releases("{id}"), arguments.api_url)
        _show(api.update_endpoint("{id}", {"image": "{the image before the present one}"}), arguments.api_url)
        return 0
    with _client(arguments, environ) as client:
        live = endpoint.must_find(client, wanted.name)
        return _set_image(client, live, endpoint.image_to_go_back_to(wanted, client, live, arguments.to))


def _dry_image(image: str, arguments: Arguments) -> int:
    _show(api.list_endpoints(), arguments.api_url)
    _show(api.update_endpoint("{id}", {"image": image}), arguments.api_url)
    return 0


def _set_image(client: Api, live: endpoint.Endpoint, image: str) -> int:
    if live.get("image") == image:
        print(f"{image} runs already: nothing to change")
        return 0
    print(f"  image: {live.get('image')} -> {image}")
    client.send(api.update_endpoint(str(live["id"]), {"image": image}))
    print("Workers change over as they are replaced; python -m deploy status shows which still run the old one.")
    return 0


def _down(arguments: Arguments, environ: Environ) -> int:
    wanted = config.load(arguments.config)
    if arguments.dry_run:
        _show(api.list_endpoints(), arguments.api_url)
        _show(api.delete_endpoint("{id}"), arguments.api_url)
        return 0
    with _client(arguments, environ) as client:
        live = endpoint.must_find(client, wanted.name)
        if not arguments.yes:
            _ask(f"Delete {wanted.name} ({live['id']}) with its queue? Type its name: ", wanted.name)
        client.send(api.delete_endpoint(str(live["id"])))
        print(f"{wanted.name} ({live['id']}) is deleted")
    return 0


def _ask(question: str, expected: str) -> None:
    if not sys.stdin.isatty():
        raise DeployError("nobody is there to ask; give --yes")
    if input(question).strip() != expected:
        raise DeployError("nothing was deleted")


def _check_quiet(arguments: Arguments) -> None:
    if not 0.1 <= arguments.quiet_s <= 60:
        raise DeployError("--quiet-s must be 0.1 to 60")


def _status(arguments: Arguments, environ: Environ) -> int:
    _check_quiet(arguments)
    with _client(arguments, environ) as client:
        for line in status.lines(
            client, endpoint.must_find(client, config.load(arguments.config).name), quiet_s=arguments.quiet_s
        ):
            print(line)
    return 0


def _logs(arguments: Arguments, environ: Environ) -> int:
    if not 0 <= arguments.tail <= 5000:
        raise DeployError("--tail must be 0 to 5000")
    _check_quiet(arguments)
    with _client(arguments, environ) as client:
        own_id = str(endpoint.must_find(client, config.load(arguments.config).name)["id"])
        workers = [str(worker["id"]) for worker in api.rows(client.send(api.list_workers(own_id)), "workers")]
        chosen = [arguments.worker] if arguments.worker else workers
        if arguments.follow and len(chosen) != 1:
            raise DeployError(f"--follow needs --worker, one of: {', '.join(workers) or 'none is active'}")
        if not chosen:
            print("no worker is active; the platform keeps the logs of active workers only")
        for worker in chosen:
            quiet_s = math.inf if arguments.follow else arguments.quiet_s
            for line in client.logs(own_id, worker, tail=arguments.tail, quiet_s=quiet_s, most_s=5 * quiet_s):
                print(f"{worker} {line.source:9} {line.line}", flush=True)
    return 0


def _secret(_: Arguments, __: Environ) -> int:
    print(secrets_env.make())
    print(secrets_env.WHERE, file=sys.stderr)
    return 0


def _plan(arguments: Arguments, _: Environ) -> int:
    return plan.run(arguments)


def _client(arguments: Arguments, environ: Environ, secrets: tuple[str, ...] = ()) -> Api:
    return Api(secrets_env.api_key(environ), base_url=arguments.api_url, jobs_url=arguments.jobs_url, secrets=secrets)


def _show(request: Request, base_url: str) -> None:
    print(f"{request.method} {base_url}{request.path}")
    print(f"Authorization: Bearer {desired.HIDDEN}")
    if request.body is not None:
        print("Content-Type: application/json\n")
        print(json.dumps(request.body, indent=2))
    print()


if __name__ == "__main__":
    sys.exit(main())
