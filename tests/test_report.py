"""The report: complete, self-contained, and safe to open whatever the names in it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_files

from reticule.budget import Budget
from reticule.compression import compress
from reticule.data import Data
from reticule.errors import MissingExtra, ReticuleError
from reticule.graph import Graph, Network, Node
from reticule.records import StageRecord
from reticule.report import render, write_report
from reticule.result import Result

HOSTILE = '</script><img src=x onerror="alert(1)">&%{x}'


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    files = tiny_files.write(tmp_path_factory.mktemp("files"))
    return compress(tiny_files.network(), train=Data(files.data), recipe=files.recipe)


class Page(HTMLParser):
    """What a browser would see: text outside of scripts, elements, scripts, addresses."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.ids: set[str] = set()
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self._inside = tag
        if tag == "script":
            self.scripts.append("")
        for name, value in attrs:
            if name in ("src", "href", "data", "action", "srcset"):
                self.addresses.append(value or "")
            elif name.startswith("on"):
                self.handlers.append(name)
            elif name == "id":
                self.ids.add(value or "")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

    @property
    def figures(self) -> dict[str, Any]:
        return json.loads(self.scripts[1])


def test_the_figures_of_the_result_are_there(result: Result) -> None:
    page = Page(render(result))
    for value in (
        f"{result.bytes_file:,}",
        f"{result.bytes_weights:,}",
        f"{result.accuracy_after:.2f} %",
        f"{result.accuracy_before:.2f} %",
        "method: threshold-pruning",
        "conv_bits: 3",
        *(stage.name for stage in result.stages),
        *(form.name for name, form in result.packed.forms.items() if name.endswith("weight")),
        *{reason for stage in result.stages for reason in stage.skipped.values()},
    ):
        assert value in page.text, value


def test_every_figure_has_its_place(result: Result) -> None:
    page = Page(render(result))
    assert {"stages", "bytes"} < set(page.figures) <= page.ids
    accuracies = page.figures["stages"]["data"][0]["y"]
    assert accuracies == [stage.accuracy for stage in result.stages]
    drawn = [trace["customdata"][1] for trace in page.figures["bytes"]["data"]]
    assert sum(drawn) == result.bytes_file


def test_nothing_is_fetched(result: Result) -> None:
    html = render(result)
    page = Page(html)
    assert page.addresses == []
    assert not {"link", "iframe", "img", "object", "embed"} & set(page.elements)
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style
    own = page.scripts[2]
    assert not re.search(r"https?:|fetch|XMLHttpRequest|import\(", own)


def test_names_are_shown_not_run(result: Result) -> None:
    nodes = (Node("Gemm", HOSTILE, ("x", HOSTILE + "w"), ("y",)),)
    graph = Graph({"x": (40,)}, ("y",), nodes, {HOSTILE + "w": (30, 40)})
    weights = np.random.default_rng(0).standard_normal((30, 40)).astype("f4")
    weights[np.abs(weights) < 1] = 0
    made = compress(Network(graph, {HOSTILE + "w": weights}), recipe=_prune_only())
    stage = StageRecord(HOSTILE, None, 0.0, 1, {HOSTILE: HOSTILE}, {HOSTILE: HOSTILE})
    recipe = replace(made.recipe, name=HOSTILE, source=HOSTILE)
    page = Page(render(replace(made, stages=(*made.stages, stage), recipe=recipe)))
    usual = Page(render(result))
    assert set(page.elements) <= set(usual.elements)
    assert len(page.scripts) == len(usual.scripts) == 3
    assert page.handlers == []
    assert HOSTILE in page.text
    titles = [str(figure["layout"].get("title")) for figure in page.figures.values()]
    assert titles and not any("<img" in title or "%{" in title for title in titles)


def _prune_only() -> Any:
    from reticule.methods.prune.threshold import ThresholdPruning
    from reticule.recipes import Recipe, Stage

    stage = Stage("threshold-pruning", {"density": 0.3}, ThresholdPruning(density=0.3))
    return Recipe("cut", "", "", "", (stage,))


def test_a_run_without_images_has_a_report_too() -> None:
    made = compress(tiny_files.network(), recipe=_prune_only())
    page = Page(render(made))
    assert "no accuracy was measured" in page.text and "generated inputs" in page.text
    assert "stages" not in page.figures


def test_a_missed_budget_is_said(result: Result) -> None:
    missed = replace(result, budget=Budget(max_drop=0.5), accuracy_before=90.0, accuracy_after=80.0)
    assert "Budget not met: 10.00 points lost, at most 0.5 allowed" in Page(render(missed)).text
    kept = replace(missed, accuracy_after=89.9)
    assert "The budget was met" in Page(render(kept)).text


def test_every_density_that_was_tried_is_drawn(result: Result) -> None:
    tried = [{"density": 0.1, "accuracy": 80.0}, {"density": 0.2, "accuracy": 90.0}]
    stages = (*result.stages, StageRecord("pruning", 90.0, 1.0, 5, {}, {"tried": tried}))
    traces = Page(render(replace(result, stages=stages))).figures["levels"]["data"]
    drawn = {(x, y) for trace in traces for x, y in zip(trace["x"], trace["y"], strict=True)}
    assert drawn == {(10.0, 80.0), (20.0, 90.0)}


def test_the_file_is_written_whole_or_not_at_all(result: Result, tmp_path: Path) -> None:
    write_report(result, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text("utf-8") == render(result)
    with pytest.raises(ReticuleError, match="missing"):
        result.report(tmp_path / "missing" / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_missing_package_is_named(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    from reticule.report import page

    monkeypatch.setattr(page, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"reticule\[report\]"):
        render(result)
