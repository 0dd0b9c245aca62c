"""`python -m tools.audit`: ask the advisory service of PyPI about every locked version.

A mirror of PyPI that lacks its advisories looks to pip-audit like a lock without vulnerabilities. So a release with
published ones is asked about along with the lock: only a service that knows of them has audited anything.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from tools.lock import LOCK

# Many published advisories, and no dependency of this project.
CANARY = ("django", "3.2")


class Verdict(NamedTuple):
    """What an audit came to: `passed` is None where the service told nothing."""

    passed: bool | None
    message: str


def judge(dependencies: list[dict[str, Any]]) -> Verdict:
    """The verdict on pip-audit's `dependencies`, which hold the canary.

    Args:
        dependencies: one entry a package, with `name` and either `version` and `vulns` or `skip_reason`.
    """
    canary = [entry for entry in dependencies if entry["name"] == CANARY[0]]
    entries = [entry for entry in dependencies if entry["name"] != CANARY[0]]
    found = [
        f"{entry['name']} {entry['version']}: {vulnerability['id']}, fixed in {fixed_in(vulnerability)}"
        for entry in entries
        for vulnerability in entry.get("vulns", [])
    ]
    if not found and not any(entry.get("vulns") for entry in canary):
        return Verdict(None, "the service that answers here knows no advisories (a mirror of PyPI?)")
    unknown = [f"{entry['name']}: {entry['skip_reason']}" for entry in entries if "skip_reason" in entry]
    if found or unknown:
        counts = f"{len(found)} known vulnerabilities, {len(unknown)} packages that the service does not know"
        return Verdict(False, "\n".join([counts, *found, *unknown]))
    return Verdict(True, f"no known vulnerabilities in {len(entries)} packages")


def fixed_in(vulnerability: dict[str, Any]) -> str:
    """The versions that mend a vulnerability, for people."""
    return ", ".join(vulnerability["fix_versions"]) or "no version yet"


def _pip_audit(*arguments: str) -> subprocess.CompletedProcess[str]:
    options = ("--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off", "--desc", "off")
    command = [sys.executable, "-m", "pip_audit", "-r", str(LOCK), *options, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def audit(arguments: list[str]) -> Verdict:
    """Run pip-audit on the lock; `arguments` are further ones of it, such as `--ignore-vuln ID`."""
    offline = _pip_audit("--dry-run", *arguments)
    if offline.returncode != 0:  # so that later failures can only be the service's
        return Verdict(False, f"pip-audit cannot read {LOCK.name}:\n{offline.stderr.strip()}")
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder, "canary.txt")
        canary.write_text(f"{CANARY[0]}=={CANARY[1]} --hash=sha256:{'0' * 64}\n", encoding="utf-8")
        online = _pip_audit("-r", str(canary), *arguments)
    try:
        return judge(json.loads(online.stdout)["dependencies"])
    except (json.JSONDecodeError, KeyError):
        last = online.stderr.strip().splitlines()[-1:] or ["no reason given"]
        return Verdict(None, f"the advisory service does not answer ({last[0][:100]})")


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 for a vulnerability or a package that the service does not know; `--strict`: for no answer too."""
    parser = argparse.ArgumentParser(prog="python -m tools.audit", allow_abbrev=False)
    parser.add_argument("--strict", action="store_true", help="fail where the advisory service cannot be reached")
    options, further = parser.parse_known_args(arguments)
    verdict = audit(further)
    if verdict.passed is None:
        print(f"NOT AUDITED: {verdict.message}; where it can be reached, run: nox -s audit", file=sys.stderr)
        return int(options.strict)
    print(f"{LOCK.name}: {verdict.message}", file=sys.stderr)
    return int(not verdict.passed)


if __name__ == "__main__":
    sys.exit(main())
