"""The page of an analysis: one HTML file that opens anywhere, without a network connection."""

from __future__ import annotations

import os

from reticule.files import write_whole
from reticule.report.communities import drawn
from reticule.report.page import check_available, json_of, text_of
from reticule.science.analysis import MEASURES, Analysis, GroupFigures, summary


def measure_rows(found: Analysis) -> list[tuple[str, ...]]:
    """Measure, what it is, its value, the mean and spread by chance, z and p."""
    rows: list[tuple[str, ...]] = []
    for name, (meaning, _) in MEASURES.items():
        each = found.measures[name]
        chance = f"{each.mean:.4g} ± {each.spread:.2g}"
        z = f"{each.z:+.1f}" if each.spread > 1e-9 * abs(each.mean) else ""
        rows.append((name, meaning, f"{each.value:.4g}", chance, z, f"{each.p:.3f}"))
    return rows


def unit_figures(found: Analysis, group: GroupFigures) -> tuple[str, ...]:
    """How many units, their mean and largest degree, their inequality; before pruning, and now."""
    kinds = (
        ("units", "{:,}"),
        ("mean_degree", "{:,.1f}"),
        ("largest_degree", "{:,}"),
        ("inequality_of_strengths", "{:.3f}"),
    )
    old = found.groups_before.get(group.name)
    now, then = (
        [form.format(getattr(g, name)) for name, form in kinds] if g else [] for g in (group, old)
    )
    shown = [f"{b} → {a}" for b, a in zip(then, now, strict=True)] if then else now
    return shown[0], shown[1], shown[2], shown[3]


def render_analysis(found: Analysis, name: str) -> str:
    """The page as one string of HTML; MissingExtra without jinja2 and plotly."""
    check_available()
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(text_of("analysis.html")).render(
        found=found,
        name=name,
        summary=summary(found),
        measures=measure_rows(found),
        units=[(group, unit_figures(found, group)) for group in found.groups],
        figures=drawn(found),
        style=Markup(text_of("page.css")),
        script=Markup(text_of("page.js")),
        plotly=Markup(get_plotlyjs()),
        as_json=lambda value: Markup(json_of(value)),
    )


def write_analysis(found: Analysis, name: str, path: str | os.PathLike[str]) -> None:
    """Write the page, whole or not at all."""
    write_whole(path, render_analysis(found, name).encode("utf-8"))
