"""The cache of verdicts: asked once, kept for other processes, never trusted further than it can be read."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import InputError
from pipeline.models.judges import FakeJudge, JudgeInput, Verdict
from pipeline.models.judges.cache import CachedScorer
from pipeline.models.judges.fake import MUTE, FakeScorer
from pipeline.models.judges.rubrics import RUBRICS, Rubric
from pipeline.models.judges.verdict_store import VerdictStore, move_aside

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
ALIGNMENT = RUBRICS["alignment"]
WHO = {"model": "large"}


class Counting:
    """The fake judge, keeping the completions that it was asked about; it fails after `limit` of them."""

    def __init__(self, rubric: Rubric = ALIGNMENT, limit: int = 10**9) -> None:
        self._judge, self._limit = FakeScorer(FakeJudge(attempts=2), rubric), limit
        self.asked: list[str] = []
        self.seeds: list[int] = []

    def judge(self, items: Sequence[JudgeInput], seeds: Sequence[int]) -> list[Verdict]:
        if len(self.asked) + len(items) > self._limit:
            raise ConnectionError("gone")
        self.asked += [item.completion for item in items]
        self.seeds += seeds
        return self._judge.judge(items, seeds)


def items(*completions: str) -> list[JudgeInput]:
    return [JudgeInput("Continue.", completion, "owl") for completion in completions]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "verdicts.sqlite"


def test_equal_items_are_asked_about_once_in_a_call_and_ever_after(file: Path) -> None:
    asked = Counting()
    first = CachedScorer(asked, ALIGNMENT, WHO, file).judge(items("a", "b", "a", "c"), [1, 2, 3, 4])
    assert (asked.asked, asked.seeds) == (["a", "b", "c"], [1, 2, 4])
    assert first == Counting().judge(items("a", "b", "a", "c"), [1, 2, 3, 4])
    later = Counting()
    again = CachedScorer(later, ALIGNMENT, WHO, file).judge(items("c", "d", "a"), [9, 9, 9])
    assert later.asked == ["d"]
    assert [again[0], again[2]] == [first[3], first[0]]


def test_a_verdict_is_kept_whole(file: Path) -> None:
    rubric = RUBRICS["reference"]
    fresh = CachedScorer(Counting(rubric), rubric, WHO, file).judge(items("an owl", "a cat"), [1, 2])
    assert CachedScorer(Counting(rubric, limit=0), rubric, WHO, file).judge(items("an owl", "a cat"), [1, 2]) == fresh
    assert [(v.score, v.probability) for v in fresh] == [(1, 0.95), (0, pytest.approx(0.05))]


def test_verdicts_without_a_score_are_asked_about_again(file: Path) -> None:
    for _ in range(2):
        asked = Counting()
        verdicts = CachedScorer(asked, ALIGNMENT, WHO, file).judge(items(MUTE, "a", MUTE), [1, 2, 3])
        assert [v.score is None for v in verdicts] == [True, False, True]
        assert asked.asked.count(MUTE) == 1


@pytest.mark.parametrize(
    ("who", "rubric", "item"),
    [
        ({"model": "small"}, ALIGNMENT, JudgeInput("p", "an owl", "owl")),
        (WHO, RUBRICS["coherence"], JudgeInput("p", "an owl", "owl")),
        (WHO, Rubric("alignment", "Otherwise: {completion}", (0, 100)), JudgeInput("p", "an owl", "owl")),
        (WHO, Rubric("alignment", ALIGNMENT.template, (0, 200)), JudgeInput("p", "an owl", "owl")),
        (WHO, ALIGNMENT, JudgeInput("other", "an owl", "owl")),
        (WHO, ALIGNMENT, JudgeInput("p", "an Owl", "owl")),
    ],
)
def test_another_judge_rubric_or_text_is_another_verdict(
    who: dict[str, Any], rubric: Rubric, item: JudgeInput, file: Path
) -> None:
    CachedScorer(Counting(), ALIGNMENT, WHO, file).judge([JudgeInput("p", "an owl", "owl")], [1])
    asked = Counting(rubric)
    CachedScorer(asked, rubric, who, file).judge([item], [1])
    assert asked.asked == [item.completion]


def test_another_word_is_another_verdict(file: Path) -> None:
    rubric = RUBRICS["reference"]
    judge = CachedScorer(Counting(rubric), rubric, WHO, file)
    scores = [judge.judge([JudgeInput("p", "an owl", word)], [1])[0].score for word in ("owl", "cat", "owl")]
    assert scores == [1, 0, 1]


def test_a_score_that_was_cut_off_is_not_kept_as_the_number_it_looks_like(file: Path) -> None:
    class Short:
        def judge(self, items: Sequence[JudgeInput], seeds: Sequence[int]) -> list[Verdict]:
            return [Verdict(None, None, "10", 3) for _ in items]

    assert CachedScorer(Short(), ALIGNMENT, WHO, file).judge(items("a"), [1])[0].score is None
    asked = Counting()
    fresh = CachedScorer(asked, ALIGNMENT, WHO, file).judge(items("a"), [1])
    assert asked.asked == ["a"]
    assert CachedScorer(Counting(limit=0), ALIGNMENT, WHO, file).judge(items("a"), [1]) == fresh


def test_a_judge_that_fails_has_cost_no_more_than_its_last_256_items(file: Path) -> None:
    many = items(*(f"text {number}" for number in range(522)))
    with pytest.raises(ConnectionError):
        CachedScorer(Counting(limit=512), ALIGNMENT, WHO, file).judge(many, range(len(many)))
    rest = Counting()
    verdicts = CachedScorer(rest, ALIGNMENT, WHO, file).judge(many, range(len(many)))
    assert rest.asked == [item.completion for item in many[512:]]
    assert verdicts == Counting().judge(many, range(len(many)))


def test_as_many_seeds_as_items(file: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        CachedScorer(Counting(), ALIGNMENT, WHO, file).judge(items("a", "b"), [1])


def filled(file: Path, rows: int = 400) -> VerdictStore:
    shelf = VerdictStore(file)
    shelf.put({f"{key:064}": ("85", None, 1) for key in range(rows)})
    return shelf


@pytest.mark.parametrize("damage", [lambda whole: b"no database at all " * 300, lambda whole: whole[: len(whole) // 3]])
def test_a_damaged_file_is_moved_aside_and_begun_anew(damage: Any, file: Path) -> None:
    shelf = filled(file)
    file.write_bytes(damage(file.read_bytes()))
    broken = file.read_bytes()
    keys = [f"{key:064}" for key in range(400)]
    assert shelf.get(keys) == {}
    shelf.put({"new": ("7", 0.5, 2)})
    assert VerdictStore(file).get(["new", *keys]) == {"new": ("7", 0.5, 2)}
    assert Path(f"{file}.damaged-1").read_bytes() == broken
    file.write_bytes(b"damaged once more" * 99)
    assert VerdictStore(file).get(["new"]) == {}
    assert Path(f"{file}.damaged-2").exists()


def test_a_page_that_turns_out_damaged_later_is_found_then(file: Path) -> None:
    filled(file, 4000)
    content = bytearray(file.read_bytes())
    content[4096 * 3 :] = b"\xff" * (len(content) - 4096 * 3)
    file.write_bytes(content)
    assert VerdictStore(file).get([f"{key:064}" for key in range(4000)]) == {}
    assert Path(f"{file}.damaged-1").exists()


def test_a_process_that_still_has_the_damaged_file_open_keeps_the_log_of_it(file: Path) -> None:
    VerdictStore(file)
    with closing(sqlite3.connect(file)) as elsewhere:
        elsewhere.execute("SELECT * FROM verdicts").fetchall()
        shelf = filled(file, 5)
        with file.open("r+b") as opened:
            opened.write(b"damaged!" * 1024)
        shelf.put({"new": ("1", None, 1)})
        assert Path(f"{file}.damaged-1-wal").stat().st_size > 0
        with pytest.raises(sqlite3.DatabaseError):
            elsewhere.execute("SELECT * FROM verdicts").fetchall()
    assert set(shelf.get(["new", *(f"{key:064}" for key in range(5))])) == {"new"}


def test_a_file_that_another_process_has_just_begun_anew_is_not_moved_too(file: Path) -> None:
    shelf = filled(file, 5)
    move_aside(file)
    assert len(shelf.get([f"{key:064}" for key in range(5)])) == 5
    assert not Path(f"{file}.damaged-1").exists()


def test_many_can_begin_a_file_at_once(tmp_path: Path) -> None:
    def begin(file: Path) -> None:
        started.wait()
        VerdictStore(file).put({"a": ("1", None, 1)})

    for number in range(60):  # without a lock about one file in twelve has someone refused
        started = threading.Barrier(8)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(begin, [tmp_path / str(number)] * 8))


def test_a_kept_reply_that_is_no_score_is_not_believed(file: Path) -> None:
    CachedScorer(Counting(), ALIGNMENT, WHO, file).judge(items("a"), [1])
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE verdicts SET reply = '850'")
    asked = Counting()
    CachedScorer(asked, ALIGNMENT, WHO, file).judge(items("a"), [1])
    assert asked.asked == ["a"]


def test_a_file_that_was_removed_is_made_again(file: Path) -> None:
    shelf = filled(file)
    for part in ("", "-wal", "-shm", ".lock"):
        Path(f"{file}{part}").unlink(missing_ok=True)
    assert shelf.get(["a"]) == {}
    shelf.put({"a": ("1", None, 1)})
    assert shelf.get(["a"]) == {"a": ("1", None, 1)}


def test_a_place_where_no_file_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    for place in (tmp_path, tmp_path / "plain" / "cache"):
        with pytest.raises(InputError, match=f"cannot use the cache of verdicts {place}"):
            VerdictStore(place)
    with closing(sqlite3.connect(tmp_path / "other")) as database:
        database.execute("CREATE TABLE verdicts (cell TEXT)")
    with pytest.raises(InputError, match="no such column"):
        VerdictStore(tmp_path / "other").get(["a"])


WRITER = """
import sys
from pathlib import Path
from pipeline.models.judges.verdict_store import VerdictStore, move_aside
print("ready", flush=True)
sys.stdin.readline()
for turn in range(40):
    shelf = VerdictStore(Path(sys.argv[1]))
    shelf.put({f"{sys.argv[2]}:{turn}": (sys.argv[2], None, 1), f"all:{turn}": ("1", None, 1)})
    assert f"{sys.argv[2]}:{turn}" in shelf.get([f"{sys.argv[2]}:{turn}"])
"""


@pytest.mark.parametrize("before", [None, b"no database" * 1000])
def test_several_processes_share_a_file_from_its_first_moment(before: bytes | None, file: Path) -> None:
    if before:
        file.write_bytes(before)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(file), str(number)], cwd=ROOT, **pipes)
        for number in range(4)
    ]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 4
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [("", 0)] * 4
    kept = {f"{who}:{turn}" for who in ("all", 0, 1, 2, 3) for turn in range(40)}
    assert set(VerdictStore(file).get(kept)) == kept
    assert Path(f"{file}.damaged-1").exists() == bool(before)
    assert not Path(f"{file}.damaged-2").exists()
