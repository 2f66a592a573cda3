"""The verdict on one run, by the rules of docs/grading.md. Pure."""

from __future__ import annotations

from typing import Any

from segment import PASSED, SKIPPED, XFAILED, XPASSED

# What reward.json holds. Harbor shows the first name in alphabetical order as the headline.
REWARDS = ("reward", "tests_fail_to_pass", "tests_pass_to_pass")

MUST_PASS = (PASSED, XFAILED)  # fail_to_pass and new tests
MAINTAINED = (PASSED, XFAILED, XPASSED, SKIPPED)  # pass_to_pass tests


def judge(spec: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """The verdict on one run (docs/grading.md)."""
    status = {result["id"]: result for result in report["results"]}

    def seen(name: str) -> str:
        return status[name]["status"] if name in status else "missing"

    checks = []
    for role in ("fail_to_pass", "new"):
        for name in spec[role]:
            passed = seen(name) in MUST_PASS
            evidence = (
                seen(name) if passed else f"{seen(name)}: {status.get(name, {}).get('message', '')}"[:500]
            )
            checks.append(
                {"name": f"{role}: {name}", "passed": passed, "score": float(passed), "evidence": evidence}
            )
    turned = sum(1 for check in checks if check["passed"])
    must = turned / len(checks) if checks else 0.0
    broken = [name for name in spec["pass_to_pass"] if seen(name) not in MAINTAINED]
    kept = 1.0 - len(broken) / len(spec["pass_to_pass"]) if spec["pass_to_pass"] else 1.0
    total = len(spec["pass_to_pass"])
    listing = "; ".join(f"{name} ({seen(name)})" for name in broken[:50])
    evidence = f"{len(broken)} of {total} broken: {listing}"[:4000] if broken else f"{total} maintained"
    checks.append({"name": "pass_to_pass", "passed": not broken, "score": kept, "evidence": evidence})
    forged = [text for text in report["disagreements"] if not text.startswith(("exit:", "report:"))]
    whole = report["outcome"] == "finished" and not report["disagreements"]
    told = [] if report["results"] else [report["log"][-1000:]]
    evidence = "; ".join([report["outcome"], *report["disagreements"], *told])[:2000]
    checks.append({"name": "run", "passed": whole, "score": float(whole), "evidence": evidence})
    if forged:
        kind, reason = "tampered", forged[0]
    else:
        kind, reason = "scored", "" if whole else evidence
    reward = float(kind == "scored" and all(check["passed"] for check in checks))
    return {
        "kind": kind, "reason": reason, "checks": checks, "report": report,
        "reward": reward, "tests_fail_to_pass": must, "tests_pass_to_pass": kept,
    }  # fmt: skip


def verdict(kind: str, reason: str) -> dict[str, Any]:
    """A verdict without a run."""
    return {
        "kind": kind,
        "reason": reason,
        "reward": 0.0,
        "tests_fail_to_pass": 0.0,
        "tests_pass_to_pass": 0.0,
        "checks": [],
        "report": None,
    }
