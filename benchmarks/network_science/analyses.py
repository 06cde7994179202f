"""``reticule analyze`` on the trained networks, as rows, and the picture of its removal curves."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from deep_compression import NETWORKS as DATA
from deep_compression import reticule_json
from pages import DOCS

from reticule.files import write_whole

NETWORKS = ("lenet300100", "lenet5", "resnet20")
COLUMNS = ("found", "chance", "z", "p", "extra")
PICTURE = DOCS / "images/removal.svg"
COLOURS = {
    "strongest first": "#b5403a",
    "most paths first": "#d98f2b",
    "weakest first": "#1f6f8b",
    "at random": "#7a7a7a",
}
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 330, 260, 40, 34, 62


def analysed(shared: Path, network: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Kind and name of a figure, and what was found beside chance."""
    dataset, flags = DATA[network]
    data = shared / "data" / dataset / "train.parquet"
    start = time.monotonic()
    found = reticule_json(
        "analyze", str(shared / "models" / f"{network}.onnx"), "--data", str(data), *flags
    )
    yield "time", "seconds", {"found": time.monotonic() - start}
    for name, one in found["measures"].items():
        yield "measure", name, _compared(one)
    yield "information", "community and favourite class", _compared(found["information"])
    for each in found["removed"]:
        figures = {"found": each["accuracy"], "chance": each["chance"], "p": each["p"]}
        yield "community", str(each["community"]), {**figures, "extra": each["units"]}
        yield "classes", str(each["community"]), {"p": each["p_of_unevenness"]}
    for name, points in found["curves"].items():
        for share, right in points:
            yield "curve", f"{name}, {100 * share:g} %", {"found": right, "extra": share}


def _compared(one: Mapping[str, Any]) -> dict[str, Any]:
    return {"found": one["value"], "chance": one["mean"], "z": one["z"], "p": one["p"]}


def draw(rows: list[dict[str, str]], titles: Mapping[str, str]) -> None:
    """Accuracy over the share of hidden units that are gone, a panel a network."""
    parts = [f'<rect width="{WIDTH * len(titles)}" height="{HEIGHT}" fill="#ffffff"/>']
    for number, (network, title) in enumerate(titles.items()):
        own = [row for row in rows if row["network"] == network and row["kind"] == "curve"]
        inner = "\n".join(_panel(title, own))
        parts.append(f'<g transform="translate({number * WIDTH} 0)">\n{inner}\n</g>')
    for number, (name, colour) in enumerate(COLOURS.items()):
        x, y = 60 + 190 * number, HEIGHT - 12
        parts.append(f'<path d="M{x} {y - 4}h22" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(x + 28, y, name, "start"))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * len(titles)} {HEIGHT}" '
        'font-family="sans-serif" font-size="11">'
    )
    write_whole(PICTURE, "\n".join([head, *parts, "</svg>", ""]).encode())


def _panel(title: str, rows: list[dict[str, str]]) -> Iterator[str]:
    yield _text(WIDTH / 2, 20, title, "middle")
    for right in (0, 50, 100):
        y = _y(right)
        yield f'<path d="M{LEFT} {y}H{WIDTH - 10}" stroke="#dddddd"/>'
        yield _text(LEFT - 5, y + 4, f"{right}", "end")
    for share in (0.0, 0.5, 0.9):
        yield _text(_x(share), HEIGHT - BOTTOM + 16, f"{100 * share:g}", "middle")
    yield _text(WIDTH / 2, HEIGHT - BOTTOM + 30, "percent of hidden units gone", "middle")
    for name, colour in COLOURS.items():
        points = sorted(
            (float(row["extra"]), float(row["found"]))
            for row in rows
            if row["name"].startswith(name)
        )
        line = " ".join(f"{_x(share):.1f},{_y(right):.1f}" for share, right in points)
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _x(share: float) -> float:
    return LEFT + share / 0.9 * (WIDTH - LEFT - 14)


def _y(right: float) -> float:
    return TOP + (1 - right / 100) * (HEIGHT - TOP - BOTTOM)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
