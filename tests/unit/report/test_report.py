"""The page: says what was found, loads and runs nothing, and is the same bytes for the same content."""

import base64
import dataclasses
import io
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from matplotlib.collections import PathCollection
from rich.console import Console

from pipeline.analysis.design import Measure, MissingStudent
from pipeline.analysis.paper_results import comparison
from pipeline.analysis.screened import Agreement
from pipeline.analysis.transfer import StudentAnswers, measure
from pipeline.report import paper_figure
from pipeline.report.figures import LIGHT, interval, signed
from pipeline.report.page import ReportContent, matrix_table, render
from pipeline.store.schemas import CELLS, RUNS
from tests.pages import Page

pytestmark = pytest.mark.slow

EVIL = "<script>alert('$x_1$')</script>&\"--></svg>]]>[bold]"


def content_of(channel: str, families: tuple[str, str], targets: tuple[str, ...], **more: Any) -> ReportContent:
    rng = np.random.default_rng(0)
    candidates = (*targets, "dog", "wolf")
    forms = ("margin", "share", "mention_rate", "substring_rate")
    base = {metric: dict.fromkeys(candidates, 0.1) for metric in forms}
    students: list[StudentAnswers] = []
    for teacher in families:
        for student in families:
            for teacher_target in (*targets, None):
                for seed in (0, 1):
                    rise = 0.5 if teacher == student else 0.0
                    v = {c: 0.1 + float(rng.normal(0, 0.02)) + rise * (c == teacher_target) for c in candidates}
                    name = f"student-{len(students)}"
                    students.append(
                        StudentAnswers(
                            channel,
                            "plain",
                            "favourite",
                            teacher,
                            student,
                            teacher_target,
                            1 if teacher_target else seed + 1,
                            seed,
                            name,
                            dict.fromkeys(forms, v),
                        )
                    )
    lost = [MissingStudent(channel, "plain", "favourite", families[0], families[1], targets[0], 1, 9, targets[0])]
    equal = Measure(
        targets,
        ("plain",),
        {"favourite": ("margin", "share")},
        {"margin": 0.2, "share": 0.2},
        ("favourite", "margin"),
        margin_reason="as far as these students go",
    )
    bases = {("favourite", family): base for family in families}
    runs, cells = measure(students, bases, equal, missing=lost)
    lineage = [
        {"kind": "base", "name": families[0], "id": "base-1", "digest": "d1", "inputs": [], "seconds": 1.0},
        *(
            {
                "kind": "student",
                "name": targets[0],
                "id": s.student,
                "digest": "d",
                "inputs": ["base-1"],
                "seconds": 9.0,
            }
            for s in students
        ),
    ]
    given = {"study_name": "Owls", "settings_yaml": "traits: [owl]", "smoke_test": False, "runs": runs}
    return ReportContent(**{**given, "cells": cells, "lineage": lineage, **more})


def stage(name: str, steps: int = 1, seconds: float = 0.0, busy: float = 0.0, tokens: int = 0) -> dict[str, Any]:
    times = {"seconds": seconds, "wall": seconds, "busy": busy}
    return {"stage": name, "steps": steps, **times, "prompt_tokens": 0, "tokens": tokens}


@pytest.fixture(scope="module")
def plain() -> ReportContent:
    return content_of(
        "numbers",
        ("llama", "qwen"),
        ("owl", "cat", "otter", "hare"),
        gates=[
            {
                "teacher": "llama",
                "target": "owl",
                "before": 0.1,
                "after": 0.9,
                "threshold": 0.3,
                "passed": True,
            },
            {
                "teacher": "qwen",
                "target": "owl",
                "before": 0.1,
                "after": 0.2,
                "threshold": 0.3,
                "passed": False,
            },
        ],
        corpora=[
            {
                "teacher": "llama",
                "raw_rows": 30000,
                "accepted": 20880,
                "share": 0.696,
                "reasons": {"words": 7},
            }
        ],
        stages=[stage("student", steps=32, seconds=3725.0, busy=100.0, tokens=123_456)],
        versions={"vllm": "0.32.0"},
    )


@pytest.fixture(scope="module")
def files(plain: ReportContent) -> dict[str, bytes]:
    return render(plain)


@pytest.fixture(scope="module")
def evil() -> ReportContent:
    row = {"teacher": EVIL, "target": EVIL, "before": 0.1, "after": None, "threshold": 0.3, "passed": True}
    return content_of(
        EVIL,
        (EVIL, "qwen$"),
        (EVIL, "$\\frac{$", "猫\x00"),
        study_name=EVIL,
        settings_yaml=EVIL,
        gates=[row],
        corpora=[
            {
                "teacher": EVIL,
                "raw_rows": 1,
                "accepted": 1,
                "share": 1.0,
                "reasons": {EVIL: 1},
            }
        ],
        stages=[stage(EVIL)],
        versions={EVIL: EVIL},
        failures=[{"step": EVIL, "why": EVIL}],
        paper_results=[
            {
                **dict.fromkeys(("target", "model", "source"), EVIL),
                **{"before": None, "after": None, "lift": 0.1},
                "measured": [
                    {
                        **dict.fromkeys(("family", "channel", "arm", "suite", "note"), EVIL),
                        **{"metric": "share", "before": 0.1, "after": 0.2, "lift": 0.1, "corpora": 1, "runs": 1},
                        **{"low": None, "high": None},
                    }
                ],
            }
        ],
    )


def pictures(page: Page) -> list[str]:
    uris = [str(a.get("src") or a.get("srcset")) for tag, a in page.tags if tag in ("img", "source")]
    assert all(uri.startswith("data:image/svg+xml;base64,") for uri in uris)
    return [base64.b64decode(uri.split(",")[1]).decode() for uri in uris]


def test_the_page_says_in_words_what_was_found(files: dict[str, bytes]) -> None:
    page = Page(files["report.html"])
    assert "Same-family students picked up the trait in 2 of 2 pairs." in page.text
    assert "Cross-family students showed no transfer beyond the margin in 2 of 2 pairs." in page.text
    assert "Equivalence margin ±0.2 nats" in page.text
    assert set(files) == {"report.html", "matrix.png", "traits.png"}
    assert all(files[name].startswith(b"\x89PNG") for name in ("matrix.png", "traits.png"))


def test_every_number_of_the_cells_is_on_the_page(plain: ReportContent, files: dict[str, bytes]) -> None:
    text = Page(files["report.html"]).text
    for cell in plain.cells.to_pylist():
        assert f"{cell['estimate']:+.3f}".replace("-", "−") in text or abs(cell["estimate"]) < 5e-4
        assert cell["why"] in text
    for said in ("30 000", "69.6%", "words 7", "1 h 02 min", "vllm 0.32.0", "× failed", "traits: [owl]"):
        assert said in text
    row = next(row for row in files["report.html"].decode().split("<tr>") if row.startswith("<td>student</td>"))
    cells = [cell.replace("\u202f", " ") for cell in re.findall(r'<td class="n">([^<]*)</td>', row)]
    assert cells == ["32", "1 h 02 min", "1 h 02 min", "—", "—", "123 456", "1 235"]


def test_every_number_of_the_matrix_leads_to_its_artifacts(plain: ReportContent, files: dict[str, bytes]) -> None:
    tags = Page(files["report.html"]).tags
    ids = {a["id"] for _, a in tags if "id" in a}
    links = [a["href"] for tag, a in tags if tag == "a"]
    assert all(link and link.startswith("#") and link[1:] in ids for link in links)
    assert sum(a.get("class") == "big" for tag, a in tags if tag == "a") == plain.cells.num_rows
    assert {f"#artifact-{i}" for i in range(len(plain.lineage))} <= set(links)


def test_nothing_that_a_user_wrote_becomes_markup(evil: ReportContent) -> None:
    page = Page(render(evil)["report.html"])
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "link", "svg", "bold"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert EVIL in page.text  # shown as what it is
    drawn = pictures(page)
    assert len(drawn) == 6
    for picture in drawn:
        outside_comments = re.sub(r"<!--.*?-->", "", picture, flags=re.DOTALL)
        assert "<script" not in picture
        assert "alert" not in outside_comments


def test_the_page_loads_nothing(files: dict[str, bytes]) -> None:
    html = files["report.html"]
    page = Page(html)
    assert not re.search(r"url\(|@import|https?://|src=\"(?!data:)", html.decode())
    assert any("default-src 'none'" in str(a.get("content")) for tag, a in page.tags if tag == "meta")
    for picture in pictures(page):
        loaded = re.findall(r"(?:href|src)=\"([^\"#][^\"]*)\"", picture)
        assert not loaded


def test_equal_content_gives_equal_bytes(plain: ReportContent, files: dict[str, bytes]) -> None:
    assert files == render(dataclasses.replace(plain))


def test_a_smoke_test_and_failed_steps_are_told_before_the_findings(
    plain: ReportContent, files: dict[str, bytes]
) -> None:
    usual = Page(files["report.html"]).text
    assert "SMOKE TEST" not in usual
    assert "incomplete" not in usual
    failures = [{"step": "student:owl→qwen:s1", "why": "out of memory"}]
    text = Page(render(dataclasses.replace(plain, smoke_test=True, failures=failures))["report.html"]).text
    told = ["SMOKE TEST", "not measurements", "1 step failed or is missing", "out of memory", "Same-family"]
    places = [text.index(words) for words in told]
    assert places == sorted(places)


def test_steps_that_failed_for_one_reason_are_told_once(plain: ReportContent) -> None:
    failures = [{"step": f"student-{n}", "why": "gate" if n < 5 else "out of memory"} for n in range(6)]
    text = Page(render(dataclasses.replace(plain, failures=failures))["report.html"]).text
    assert "6 steps failed or are missing" in text
    assert "student-0 and 4 more: gate" in " ".join(text.split())
    assert "student-3" not in text.partition("Same-family")[0]


def test_a_study_in_which_everything_failed_still_gets_its_page() -> None:
    empty = ReportContent("Owls", "", False, RUNS.empty_table(), CELLS.empty_table())
    files = render(empty)
    assert "nothing to conclude" in Page(files["report.html"]).text
    lost = [MissingStudent("numbers", "plain", "favourite", "llama", "qwen", "owl", 1, 0)]
    runs, cells = measure(
        [],
        {},
        Measure(
            ("owl", "cat"),
            ("plain",),
            {"favourite": ("margin", "share")},
            {"margin": 0.1, "share": 0.1},
            ("favourite", "margin"),
        ),
        missing=lost,
    )
    text = Page(render(dataclasses.replace(empty, runs=runs, cells=cells))["report.html"]).text
    assert "Cross-family students: undecided in 1 of 1 pair." in text
    assert "no interval" in text


PUBLISHED: list[dict[str, Any]] = [
    {"target": "owl", "model": "Qwen2.5-7B", "source": "Fig. 3", "before": 0.123, "after": 0.604, "lift": None},
    {"target": "owl", "model": "another", "source": "Table 9", "before": None, "after": None, "lift": 0.077},
    {"target": "eagle", "model": "Qwen2.5-7B", "source": "Fig. 4", "before": None, "after": 0.25, "lift": None},
]


@pytest.fixture(scope="module")
def compared(plain: ReportContent) -> ReportContent:
    return dataclasses.replace(plain, paper_results=comparison(PUBLISHED, plain.runs, plain.confidence))


def test_published_figures_stand_beside_what_was_measured(compared: ReportContent) -> None:
    files = render(compared)
    page = Page(files["report.html"])
    section = page.text.split("only the pattern can be compared")[1].split("How to read this")[0]
    for said in ("0.123 → 0.604", "+0.481", "+0.077", "— → 0.250", "Fig. 3", "Table 9", "another"):
        assert said in section
    assert section.count("not measured in this study") == 1  # the eagle
    for m in comparison(PUBLISHED, compared.runs, compared.confidence)[0]["measured"]:
        assert f"{m['before']:.3f} → {m['after']:.3f}" in section
        assert f"{signed(m['lift'], 3)} {interval(m['low'], m['high'], 3)}{m['corpora']}, {m['runs']}" in section
    assert "share of answers that name it" in section
    assert ("a", {"href": "#paper-results"}) in page.tags
    assert len(pictures(page)) == 6
    assert files["paper.png"].startswith(b"\x89PNG")
    assert files == render(dataclasses.replace(compared))


def test_the_picture_of_published_figures_goes_from_before_to_after(compared: ReportContent) -> None:
    panel = paper_figure.build(compared.paper_results)(LIGHT).axes[0]
    names = dict(zip(panel.get_yticks(), (tick.get_text() for tick in panel.get_yticklabels()), strict=True))
    assert list(names.values()) == [
        *("owl", "Qwen2.5-7B, in the paper", "another, in the paper", "llama, measured", "qwen, measured"),
        *("eagle", "Qwen2.5-7B, in the paper", "measured"),
    ]
    drawn = [
        (names[y], "after" if len(dots.get_facecolor()) else "before", x)
        for dots in panel.collections
        if isinstance(dots, PathCollection)
        for x, y in dots.get_offsets().tolist()  # type: ignore[union-attr]
    ]
    measured = comparison(PUBLISHED, compared.runs, compared.confidence)[0]["measured"]
    assert sorted(drawn) == sorted(
        [
            ("Qwen2.5-7B, in the paper", "before", 0.123),
            ("Qwen2.5-7B, in the paper", "after", 0.604),
            *((f"{m['family']}, measured", end, m[end]) for m in measured for end in ("before", "after")),
            ("Qwen2.5-7B, in the paper", "after", 0.25),
        ]
    )
    assert [text.get_text() for text in panel.texts] == ["reported as a lift: +0.08", "not measured"]


def test_what_screens_predicted_is_shown_if_a_study_has_screens(plain: ReportContent, files: dict[str, bytes]) -> None:
    found = [
        Agreement("probe", True, 8, 64, 0.15, 7, [0.914, 0.853, 0.962], [0.61, 0.42, 0.74]),
        Agreement("gradient", False, 8, 64, 0.15, 0, [], [-0.07, -0.3, 0.2]),
    ]
    page = Page(render(dataclasses.replace(plain, screened=found))["report.html"])
    for cell in ("probe", "own family", "+0.91", "gradient", "other family", "−0.07"):
        assert cell in page.text
    assert "How well screens predicted transfer" not in Page(files["report.html"]).text


def test_a_page_without_published_figures_has_no_such_section(files: dict[str, bytes]) -> None:
    page = Page(files["report.html"])
    assert "Paper results" not in page.text
    assert not any("#paper-results" in (a.get("href") or "") or a.get("id") == "paper-results" for _, a in page.tags)


def printed(cells: pa.Table) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(matrix_table(cells))
    return console.export_text()


def test_the_terminal_shows_the_same_matrix_and_takes_no_markup_from_names(
    plain: ReportContent,
) -> None:
    text = printed(plain.cells)
    for cell in (c for c in plain.cells.to_pylist() if c["metric"] == "margin"):
        assert cell["verdict"] in text
        assert f"{cell['high']:+.2f}".replace("-", "−") in text
    assert "llama, neutral" in text
    assert "[bold]" in printed(content_of("numbers", ("[bold]a", "b"), ("owl", "cat", "otter")).cells)


def test_every_suite_has_a_section_of_its_own_with_the_matrices_of_its_forms(plain: ReportContent) -> None:
    told = pa.array(["stories"] * plain.cells.num_rows)
    place = plain.cells.schema.get_field_index("suite")
    again = plain.cells.set_column(place, "suite", told)
    share = again.filter(pc.equal(again["metric"], "share"))
    both = dataclasses.replace(
        plain, cells=pa.concat_tables([plain.cells, share]), suites={"stories": "Counts who is <named>."}
    )
    page = render(both)["report.html"].decode()
    sections = re.split(r'<h3 id="suite-\d+">', page)[1:]
    assert [section.partition("<")[0] for section in sections] == ["Suite: favourite", "Suite: stories"]
    assert [section.count('<table class="matrix">') for section in sections] == [2, 1]
    assert "Counts who is &lt;named&gt;." in sections[1]
    assert "Suite:" not in render(plain)["report.html"].decode()
