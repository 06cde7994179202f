"""The picture: ratio of the whole file against points of accuracy lost, a panel a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from math import log10

from pages import DOCS

from reticule.files import write_whole

PICTURE = DOCS / "images/methods.svg"
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 360, 420, 46, 40, 50
MOST, LEAST = 3.0, -1.0  # points lost that the picture shows
RATIOS = (1, 3, 10, 30, 100, 300)

Row = Mapping[str, str]


def draw(rows: Iterable[Row], titles: Mapping[str, str]) -> None:
    rows = list(rows)
    parts = [f'<rect width="{WIDTH * len(titles)}" height="{HEIGHT}" fill="#ffffff"/>']
    for number, (network, title) in enumerate(titles.items()):
        own = [row for row in rows if row["network"] == network]
        inner = "\n".join(_panel(title, own))
        parts.append(f'<g transform="translate({number * WIDTH} 0)">\n{inner}\n</g>')
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * len(titles)} {HEIGHT}" '
        'font-family="sans-serif" font-size="11">'
    )
    PICTURE.parent.mkdir(exist_ok=True)
    write_whole(PICTURE, "\n".join([head, *parts, "</svg>", ""]).encode())


def _x(ratio: float) -> float:
    return LEFT + log10(max(ratio, 1)) / log10(RATIOS[-1] * 1.3) * (WIDTH - LEFT - 16)


def _y(lost: float) -> float:
    share = (min(max(lost, LEAST), MOST) - LEAST) / (MOST - LEAST)
    return TOP + share * (HEIGHT - TOP - BOTTOM)


def _panel(title: str, rows: list[Row]) -> list[str]:
    parts = [_text(WIDTH / 2, 22, title, "middle", 14)]
    for ratio in RATIOS:
        parts.append(_rule(_x(ratio), TOP, _x(ratio), HEIGHT - BOTTOM))
        parts.append(_text(_x(ratio), HEIGHT - BOTTOM + 16, str(ratio), "middle"))
    for lost in (-1, 0, 1, 2, 3):
        parts.append(_rule(LEFT, _y(lost), WIDTH - 16, _y(lost)))
        parts.append(_text(LEFT - 6, _y(lost) + 4, f"{lost:+d}" if lost else "0", "end"))
    parts.append(_text(WIDTH / 2, HEIGHT - 14, "ratio of the whole file", "middle"))
    parts.append(_text(4, TOP - 8, "points lost (3 or more at the edge)", "start"))
    taken: list[float] = []
    for row in sorted(rows, key=lambda row: float(row["drop_points"])):
        x, y = _x(float(row["ratio_file"])), _y(float(row["drop_points"]))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="#1f6f8b"/>')
        label = y
        while any(abs(label - other) < 11 for other in taken):
            label += 3
        taken.append(label)
        left = x > WIDTH * 0.62
        parts.append(
            _text(x + (-7 if left else 7), label + 4, row["recipe"], "end" if left else "start")
        )
    return parts


def _rule(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="#d8dcde"/>'


def _text(x: float, y: float, text: str, anchor: str, size: int = 11) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="#22292d">{escape(text)}</text>'
    )
