"""Generates a client from schema/openapi.json and asks with it what the README and the document show.

The server at $BTKN_URL serves the chain of fixtures/regtest. Every `curl` of the README and every example of
the document is found among the operations of the document, called through the function that was
generated for it, and must be answered with the type that was generated for its answer, which holds
exactly what the server sent.
"""

import enum
import importlib
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import typing
import urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "schema" / "openapi.json"
BASE = "127.0.0.1:3080"
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def generate(directory):
    """The generated package, imported."""
    command = ["openapi-python-client", "generate", "--meta", "none", "--fail-on-warning"]
    command += ["--config", str(ROOT / "tests" / "client" / "generator.yml")]
    command += ["--path", str(DOCUMENT), "--output-path", str(directory / "btkn_client")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"no client could be generated:\n{done.stdout}{done.stderr}")
    sys.path.insert(0, str(directory))
    return importlib.import_module("btkn_client")


def readme_requests():
    """Method, path with query, and body of each curl in the README."""
    for block in FENCE.findall((ROOT / "README.md").read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            if not line.strip().startswith("curl "):
                continue
            words = shlex.split(line)
            address = next(word for word in words if word.startswith(BASE))
            flags = [i for i, word in enumerate(words) if word in ("-d", "--json")]
            body = json.loads(words[flags[0] + 1]) if flags else None
            yield ("get" if body is None else "post", address.removeprefix(BASE), body)


def document_requests(document):
    """The same of the examples that the document shows."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            content = operation["responses"]["200"].get("content", {}).get("application/json", {})
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
            for example in content.get("examples", {}).values():
                yield method, example["summary"].split(" ", 1)[1], body


def find(document, method, path):
    """The operation of a path, and the values in it."""
    for template, item in document["paths"].items():
        names = re.findall(r"{(\w+)}", template)
        pattern = re.sub(r"\\{\w+\\}", "([^/]+)", re.escape(template))
        match = re.fullmatch(pattern, path)
        if match and method in item:
            values = map(urllib.parse.unquote, match.groups())
            return item[method], dict(zip(names, values))
    sys.exit(f"the document has no operation for {method} {path}")


def call(package, client, operation, values, query, body):
    """The answer to a call of the generated function, as text and as the generated type."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", operation["operationId"]).lower()
    module = importlib.import_module(f"{package.__name__}.api.{operation['tags'][0]}.{name}")
    signature = inspect.signature(module.sync_detailed).parameters

    def argument(place, name, text):
        # A word of the language gets an underscore; a name that path and query share is told apart by the place.
        key = next(key for key in (name, f"{name}_", f"{name}_{place}") if key in signature)
        kinds = typing.get_args(signature[key].annotation) or (signature[key].annotation,)
        if bool in kinds:
            return key, text == "true"
        kind = next((kind for kind in kinds if kind is int or issubclass(kind, enum.Enum)), str)
        return key, kind(text)

    arguments = [argument("path", name, text) for name, text in values.items()]
    arguments += [argument("query", name, text) for name, text in query.items()]
    if body is not None:
        arguments.append(("body", signature["body"].annotation.from_dict(body)))
    return module.sync_detailed(client=client, **dict(arguments))


def main():
    document = json.loads(DOCUMENT.read_text())
    with tempfile.TemporaryDirectory() as directory:
        package = generate(Path(directory))
        client = package.Client(base_url=os.environ["BTKN_URL"])
        requests = [*readme_requests(), *document_requests(document)]
        for method, address, body in requests:
            url = urllib.parse.urlsplit(address)
            operation, values = find(document, method, url.path)
            query = dict(urllib.parse.parse_qsl(url.query))
            answer = call(package, client, operation, values, query, body)
            assert answer.status_code == 200, f"{method} {address}: {answer.status_code} {answer.content}"
            sent = json.loads(answer.content)
            assert answer.parsed.to_dict() == sent, f"{method} {address}: the client reads {answer.parsed}"
            print(f"{method.upper():4} {address}: {type(answer.parsed).__name__}")
    passed = len(requests)
    print(f"\n{passed} passed, 0 failed" if passed else "no request was found")
    sys.exit(0 if passed else 1)


main()
