"""The picture of the documentation: size and accuracy of whole files, as SVG by hand."""

from __future__ import annotations

from pathlib import Path

from coding.accuracy import LEVELS, NETWORK, envelope, points_table
from reticule.files import write_whole

PICTURE = Path(__file__).parents[2] / "docs/images/codec.svg"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 420, 64, 24, 24, 56
COLOURS = {"nncodec": "#b3572b", "reticule": "#1f6f8b"}
NAMES = {"nncodec": "NNCodec 2.1.3, all settings", "reticule": "Reticule, post-training"}
ACCURACIES = (87.0, 92.0)
FROM, TO = 30, 120  # kB

Point = tuple[int, float]


def draw() -> None:
    """Points of every setting, and the line of those that no smaller file beats."""
    rows = [row for row in points_table().rows.values() if row["network"] == NETWORK]
    parts = [*_frame()]
    for number, coder in enumerate(COLOURS):
        own = [row for row in rows if row["coder"] == coder]
        points = [(int(row["bytes_file"]), float(row["accuracy"])) for row in own]
        parts += _coder(coder, points, envelope(own), number)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13">'
    )
    PICTURE.parent.mkdir(exist_ok=True)
    write_whole(PICTURE, "\n".join([head, *parts, "</svg>", ""]).encode())


def _x(size: float) -> float:
    return LEFT + (size / 1000 - FROM) / (TO - FROM) * (WIDTH - LEFT - RIGHT)


def _y(accuracy: float) -> float:
    low, high = ACCURACIES
    return HEIGHT - BOTTOM - (accuracy - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _inside(point: Point) -> bool:
    return FROM <= point[0] / 1000 <= TO and ACCURACIES[0] <= point[1] <= ACCURACIES[1]


def _frame() -> list[str]:
    """Background, grid and axes; the accuracies of the comparison are shaded."""
    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>']
    top, bottom = _y(max(LEVELS)), _y(min(LEVELS))
    parts.append(
        f'<rect x="{LEFT}" y="{top:.1f}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{bottom - top:.1f}" fill="#f1f4f5"/>'
    )
    for size in range(FROM, TO + 1, 10):
        x = _x(1000 * size)
        parts.append(_line(x, TOP, x, HEIGHT - BOTTOM, "#d8dcde"))
        parts.append(_text(x, HEIGHT - BOTTOM + 18, str(size), "middle"))
    for accuracy in range(int(ACCURACIES[0]), int(ACCURACIES[1]) + 1):
        y = _y(accuracy)
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, "#d8dcde"))
        parts.append(_text(LEFT - 8, y + 4, str(accuracy), "end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, "whole file, kB", "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    label = _text(18, middle, "CIFAR-10 test accuracy, %", "middle")
    return [*parts, label.replace("<text", f'<text transform="rotate(-90 18 {middle:.1f})"')]


def _coder(coder: str, points: list[Point], line: list[Point], number: int) -> list[str]:
    colour = COLOURS[coder]
    parts = [
        f'<circle cx="{_x(size):.1f}" cy="{_y(accuracy):.1f}" r="2.5" fill="{colour}" '
        'fill-opacity="0.35"/>'
        for size, accuracy in points
        if _inside((size, accuracy))
    ]
    path = " ".join(f"{_x(p[0]):.1f},{_y(p[1]):.1f}" for p in line if _inside(p))
    parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    y = HEIGHT - BOTTOM - 36 + 20 * number
    x = WIDTH - RIGHT - 210
    parts.append(_line(x, y - 4, x + 22, y - 4, colour, 2))
    parts.append(_text(x + 30, y, NAMES[coder], "start"))
    return parts


def _line(x: float, y: float, to_x: float, to_y: float, colour: str, width: int = 1) -> str:
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" '
        f'stroke="{colour}" stroke-width="{width}"/>'
    )


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#333">{words}</text>'
