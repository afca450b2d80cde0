"""An analysis computes the evidence once, and a card is parsed in one place."""

import json
import sys

import pytest

from attrood.axes import AxisCard, card_file
from attrood.entrance import run
from attrood.entrance.analysis import analyse
from attrood.entrance.results import report_folder
from attrood.evidence import evidence_frame
from attrood.log import bundled_log


@pytest.fixture
def counted(monkeypatch):
    "Counts the calls of a function, by whatever name a module of the package took it."

    def count(function):
        calls = []

        def counting(*args, **kwargs):
            calls.append(args)
            return function(*args, **kwargs)

        for name, module in list(sys.modules.items()):
            if name == "attrood" or name.startswith("attrood."):
                for key, value in list(vars(module).items()):
                    if value is function:
                        monkeypatch.setattr(module, key, counting)
        return calls

    return count


def test_an_analysis_computes_the_evidence_once(counted):
    log, calls = bundled_log(), counted(evidence_frame)
    analyse(log, "paper", n_components=2, alpha=2.0)
    assert len(calls) == 1


def test_a_run_computes_the_evidence_once_and_parses_the_card_once(counted, tmp_path):
    log, calls, parsed = bundled_log(), counted(evidence_frame), counted(card_file.card_parts)
    run(log, tmp_path / "out", "paper")
    assert (len(calls), len(parsed)) == (1, 1)  # the report reads the card that was written
    report_folder(tmp_path / "out", tmp_path / "again.html")
    assert (len(calls), len(parsed)) == (1, 2)


def test_the_card_of_a_table_is_that_of_its_log():
    log = bundled_log()
    fixed = {"n_components": 2, "alpha": 2.0}
    one, other = (analyse(log, "paper", table, **fixed).card for table in (None, evidence_frame(log)))
    assert one.to_dict() == other.to_dict() == AxisCard.from_dict(json.loads(json.dumps(one.to_dict()))).to_dict()
