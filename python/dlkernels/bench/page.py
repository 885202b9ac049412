"""The HTML page: one file without a network, made of page.html, page.css, page.js and the results as JSON inside it."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from .row import OURS
from .summary import Result, asked, best_peer, is_time, means, middle, peers_of, ratio, roof, slower, verdict_on_peer

_HERE = Path(__file__).parent


def _row(results: Result, row: Result) -> dict[str, Any]:
    peer, interval = best_peer(row), row["seconds"].get(OURS)
    return {
        "title": row["label"] or row["name"],
        **{key: row[key] for key in ("subject", "part", "dtype", "size", "family", "variant", "bytes", "operations")},
        "ours": middle(row),
        "low": interval and interval[0],
        "high": interval and interval[2],
        "roof": roof(results, row),
        "peers": peers_of(row),
        "best": peer and peer[0],
        "ratio": ratio(row),
        "verdict": verdict_on_peer(row),
        "error": row["errors"].get(OURS),
    }


def data(results: Result) -> dict[str, Any]:
    """What the page's script draws."""
    return {
        "rows": [_row(results, row) for row in results["rows"] if is_time(row)],
        "slower": len(slower(results["rows"])),
        "asked": [
            {
                "title": row["label"],
                "against": against,
                "theirs": theirs,
                "ours": mine,
                "ratio": r,
                "asked": row["asked"],
            }
            for row, against, theirs, mine, r in asked(results)
        ],
        "means": [m.__dict__ for m in means(results["rows"])],
        "roof": results["roof"],
        "machine": results["machine"],
        "missing": results["missing"],
    }


def page(results: Result) -> str:
    """The whole page."""
    about = results["machine"]
    facts = [
        f"dlkernels {about['versions'][OURS]}{' at ' + about['commit'] if about['commit'] else ''}",
        f"{about['cpu']}, {about['cores']} cores, {about['threads']} threads for everybody, target {about['target']}",
        ", ".join(f"{name} {version}" for name, version in about["versions"].items() if name != OURS),
        f"missing: {', '.join(results['missing'])}" if results["missing"] else "no peer missing",
        about["date"],
    ]
    text = (_HERE / "page.html").read_text(encoding="utf-8")
    embedded = json.dumps(data(results)).replace("</", "<\\/")
    for mark, content in (
        ("/*css*/", (_HERE / "page.css").read_text(encoding="utf-8")),
        ("<!--facts-->", " · ".join(html.escape(fact) for fact in facts)),
        ("/*js*/", (_HERE / "page.js").read_text(encoding="utf-8")),
        ("/*data*/null", embedded),
    ):
        text = text.replace(mark, content)
    return text
