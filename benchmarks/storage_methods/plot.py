"""The picture: a bar for each recipe, as long as its ratio, in the colour of what it lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from math import log10

from pages import DOCS

from reticule.files import write_whole

PICTURE = DOCS / "images/methods.svg"
WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 380, 17, 170, 14, 56, 30
RATIOS = (1, 3, 10, 30, 100, 300)
COLOURS = {  # points lost, at most
    0.0: "#1f6f8b",
    0.5: "#67a9bd",
    1.0: "#c9b458",
    3.0: "#d98f2b",
    float("inf"): "#b5403a",
}

Row = Mapping[str, str]


def draw(rows: Iterable[Row], titles: Mapping[str, str]) -> None:
    """All rows of each network, the largest ratio on top."""
    rows = list(rows)
    panels = {
        title: sorted(
            (row for row in rows if row["network"] == network),
            key=lambda row: -float(row["ratio_file"]),
        )
        for network, title in titles.items()
    }
    height = TOP + ROW * max(map(len, panels.values())) + BOTTOM
    parts = [f'<rect width="{WIDTH * len(panels)}" height="{height}" fill="#ffffff"/>']
    for number, (title, own) in enumerate(panels.items()):
        inner = "\n".join(_panel(title, own))
        parts.append(f'<g transform="translate({number * WIDTH} 0)">\n{inner}\n</g>')
    parts += _legend()
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * len(panels)} {height}" '
        'font-family="sans-serif" font-size="11">'
    )
    PICTURE.parent.mkdir(exist_ok=True)
    write_whole(PICTURE, "\n".join([head, *parts, "</svg>", ""]).encode())


def _legend() -> Iterable[str]:
    x = 8.0
    yield _text(x, 16, "points of accuracy lost:", "start")
    x += 136
    for most, colour in COLOURS.items():
        title = "none" if not most else f"up to {most:g}" if most < 99 else "more"
        yield f'<rect x="{x:.0f}" y="7" width="14" height="11" fill="{colour}"/>'
        yield _text(x + 19, 16, title, "start")
        x += 84


def _x(ratio: float) -> float:
    return LEFT + log10(max(ratio, 1)) / log10(RATIOS[-1] * 1.5) * (WIDTH - LEFT - RIGHT)


def _panel(title: str, rows: list[Row]) -> Iterable[str]:
    yield _text(LEFT, 38, f"{title}: ratio of the whole file", "start", 13)
    bottom = TOP + ROW * len(rows)
    for ratio in RATIOS:
        x = _x(ratio)
        yield f'<path d="M{x:.1f} {TOP - 6}V{bottom}" stroke="#d8dcde"/>'
        yield _text(x, bottom + 14, str(ratio), "middle")
    for number, row in enumerate(rows):
        y, lost = TOP + ROW * number, float(row["drop_points"])
        colour = next(colour for most, colour in COLOURS.items() if lost <= most)
        budget = "" if row["budget"] == "recipe" else f", {row['budget']}"
        width = _x(float(row["ratio_file"])) - LEFT
        yield f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{ROW - 4}" fill="{colour}"/>'
        yield _text(LEFT - 6, y + 10, row["recipe"] + budget, "end")


def _text(x: float, y: float, text: str, anchor: str, size: int = 11) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="#22292d">{escape(text)}</text>'
    )
