"""A known vulnerability fails; a service that tells nothing is never taken for a clean lock."""

import json
import re

import pytest

from tools import ROOT
from tools.audit import CANARY, judge, main
from tools.lock import LOCK, parse

ADVISORY = {"id": "PYSEC-0", "fix_versions": ["9.1", "9.2"]}
FLAGGED = {"name": CANARY[0], "version": CANARY[1], "vulns": [ADVISORY]}
CLEAN = {"name": "sound", "version": "1.0", "vulns": []}
VULNERABLE = {"name": "unsound", "version": "9.0", "vulns": [ADVISORY]}
UNKNOWN = {"name": "gone", "skip_reason": "not found"}


def test_clean_is_what_a_service_says_that_flags_the_canary():
    assert judge([FLAGGED, CLEAN]) == (True, "no known vulnerabilities in 1 packages")


@pytest.mark.parametrize("canary", [FLAGGED, {**FLAGGED, "vulns": []}, {"name": CANARY[0], "skip_reason": "not found"}])
def test_a_vulnerability_fails(canary):
    passed, message = judge([canary, CLEAN, VULNERABLE])
    assert passed is False
    assert "unsound 9.0: PYSEC-0, fixed in 9.1, 9.2" in message


def test_a_vulnerability_without_remedy_is_named():
    assert "no version yet" in judge([{**VULNERABLE, "vulns": [{"id": "PYSEC-0", "fix_versions": []}]}]).message


def test_a_package_that_the_service_does_not_know_fails():
    assert judge([FLAGGED, CLEAN, UNKNOWN]).passed is False


@pytest.mark.parametrize(
    "told",
    [
        [{"name": CANARY[0], "skip_reason": "not found"}, UNKNOWN],  # a mirror without the pages that carry advisories
        [{**FLAGGED, "vulns": []}, CLEAN],  # a mirror with these pages, but without the advisories
        [CLEAN],
    ],
)
def test_a_service_that_overlooks_the_canary_has_not_audited(told):
    assert judge(told).passed is None


def test_the_canary_is_not_locked():
    assert CANARY[0] not in parse(LOCK.read_text(encoding="utf-8"))


@pytest.fixture
def pip_audit(tmp_path, monkeypatch):
    """Stand-in for pip-audit: keeps its arguments, then prints `online` or fails; `offline` is the dry run's status."""

    def install(online, offline=0):
        log = tmp_path / "calls"
        script = (
            "import json, sys\n"
            f"open({str(log)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
            f"if '--dry-run' in sys.argv: sys.exit({offline})\n"
            f"print({online!r}) if {online!r} else sys.exit('no route to host')\n"
        )
        (tmp_path / "pip_audit.py").write_text(script)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return log

    return install


def report(*dependencies):
    return json.dumps({"dependencies": dependencies, "fixes": []})


@pytest.mark.parametrize(
    ("online", "lenient", "strict"),
    [
        (report(FLAGGED, CLEAN), 0, 0),
        (report(FLAGGED, VULNERABLE), 1, 1),
        (report(CLEAN), 0, 1),
        ("", 0, 1),
        ("<html>", 0, 1),
    ],
    ids=["clean", "vulnerable", "mirror", "unreachable", "garbage"],
)
def test_exit_status(pip_audit, capsys, online, lenient, strict):
    pip_audit(online)
    assert main([]) == lenient
    assert main(["--strict"]) == strict
    assert ("NOT AUDITED" in capsys.readouterr().err) == (lenient != strict)


def test_the_reason_for_no_answer_is_told(pip_audit, capsys):
    pip_audit("")
    main([])
    told = capsys.readouterr().err
    assert "no route to host" in told
    assert "nox -s audit" in told


def test_a_fault_of_the_lock_or_of_pip_audit_is_not_taken_for_a_silent_service(pip_audit):
    pip_audit("", offline=1)
    assert main([]) == 1


def test_the_whole_lock_is_asked_about_with_digests_required(pip_audit):
    log = pip_audit(report(FLAGGED))
    main(["--ignore-vuln", "PYSEC-0"])
    for call in log.read_text().splitlines():
        assert {str(LOCK), "--require-hashes", "--disable-pip", "--ignore-vuln", "PYSEC-0"} <= set(json.loads(call))


def test_lint_audits_and_ci_lints():
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    (lint,) = re.findall(r"^def lint\(.*?(?=^@|\Z)", noxfile, re.MULTILINE | re.DOTALL)
    assert '"tools.audit")' in lint
    assert '"tools.licences", "--check")' in lint
    assert "nox -s lint" in (ROOT / ".ci/run").read_text(encoding="utf-8")
