"""Every training-free score against a slow, plain version of its definition, and from a log against the array it was made of."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.special import logsumexp

from attrood.evidence import EVIDENCE, EmbeddingScores, add_evidence, evidence_frame
from attrood.evidence.fitted import FILES, FittedScore
from attrood.evidence.registry import Evidence, array_evidence, available_evidence, register, training_free
from attrood.log import log_from_logits
from attrood.log.make import bare_log

RNG = np.random.default_rng(20260221)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


TEXT = unit(RNG.normal(size=(30, 64)) + 1.5)  # a shared direction, as CLIP's texts have
IMAGES = unit(
    0.25 * TEXT[RNG.integers(30, size=80)] * RNG.uniform(0, 1, size=(80, 1)) + unit(RNG.normal(size=(80, 64)))
)
COSINES, SCALE = IMAGES @ TEXT.T, 40.0  # 1/40 is none of the temperatures a log keeps


def softmax(row, tau):
    e = [np.exp((v - max(row)) / tau) for v in row]
    return np.array([v / sum(e) for v in e])


def entropy(row, tau):
    return -sum(p * np.log(p) for p in softmax(row, tau) if p > 0)


def gen(row, tau, m):
    p = sorted(softmax(row, tau))[::-1][:m]
    return sum((v * (1 - v)) ** 0.1 for v in p)


def delta(row, tau, c, mode):
    "Minus the rise of the energy when the largest similarities are set to 0."

    def E(r):
        return -tau * logsumexp(np.array(r) / tau)

    order = sorted(range(len(row)), key=lambda i: -row[i])[:c]
    rises = [
        E([0 if i in crop else v for i, v in enumerate(row)]) - E(row)
        for crop in ([order] if mode == "joint" else [[i] for i in order])
    ]
    return -sum(rises) / len(rises)


def ranked(row, *ranks):
    s = sorted(row)[::-1]
    return s[ranks[0]] if len(ranks) == 1 else [s[r] for r in ranks]


PLAIN = {  # name: (cosines of one image, τ = 1/scale) -> oriented value
    "conf": lambda s, t: -max(softmax(s, t)),
    "msp": lambda s, t: -max(softmax(s, t)),
    "entropy": lambda s, t: entropy(s, t),
    "normalized_entropy": lambda s, t: entropy(s, t) / np.log(len(s)),
    "energy": lambda s, t: -logsumexp(np.array(s) / t),
    "oodscore": lambda s, t: (1 - max(softmax(s, t))) / 2 + entropy(s, t) / np.log(len(s)) / 2,
    "mcm": lambda s, t: -max(softmax(s, 1)),
    "mcm_t0.1": lambda s, t: -max(softmax(s, 0.1)),
    "probability_margin": lambda s, t: np.subtract(*ranked(list(softmax(s, t)), 1, 0)),
    "entropy_t0.02": lambda s, t: entropy(s, 0.02),
    "entropy_t0.1": lambda s, t: entropy(s, 0.1),
    "entropy_t1": lambda s, t: entropy(s, 1) - np.log(len(s)),
    "collision_entropy": lambda s, t: -np.log(sum(p * p for p in softmax(s, t))),
    "collision_entropy_t0.1": lambda s, t: -np.log(sum(p * p for p in softmax(s, 0.1))),
    "softmax_variance": lambda s, t: -np.mean([(p - 1 / len(s)) ** 2 for p in softmax(s, t)]),
    "gen": lambda s, t: gen(s, t, 100),
    "gen_top10": lambda s, t: gen(s, t, 10),
    "energy_cosine": lambda s, t: -logsumexp(s),
    "energy_t0.1": lambda s, t: -0.1 * logsumexp(np.array(s) / 0.1),
    "delta_energy": lambda s, t: delta(s, t, 2, "joint"),
    "delta_energy_c5": lambda s, t: delta(s, t, 5, "joint"),
    "delta_energy_mean": lambda s, t: delta(s, t, 5, "mean"),
    "delta_energy_t0.1": lambda s, t: delta(s, 0.1, 2, "joint"),
    "max_cosine": lambda s, t: -max(s),
    "max_logit": lambda s, t: -max(s) / t,
    "cosine_margin": lambda s, t: np.subtract(*ranked(s, 1, 0)),
    "cosine_spread": lambda s, t: -np.sqrt(np.mean([(v - sum(s) / len(s)) ** 2 for v in s])),
    "mean_text": lambda s, t: -sum(s) / len(s),
    "peakedness": lambda s, t: sum(s) / len(s) - max(s),
    "peak_z": lambda s, t: (np.mean(s) - max(s)) / np.std(s),
    "peak_over_runners": lambda s, t: np.mean(ranked(s, *range(1, 10))) - max(s),
}


def test_every_score_of_rows_has_a_plain_version():
    assert set(PLAIN) == {n for n, e in EVIDENCE.items() if e.of_row}
    assert len(EVIDENCE) >= 25 and all(e.source and e.definition for e in EVIDENCE.values())


@pytest.mark.parametrize("name", PLAIN)
def test_equals_plain_version(name):
    plain = [PLAIN[name](list(row), 1 / SCALE) for row in COSINES]
    np.testing.assert_allclose(array_evidence(COSINES, SCALE, names=[name])[name], plain, rtol=1e-9, atol=1e-13)
    single = array_evidence(COSINES.astype(np.float32), SCALE, names=[name])[name]
    np.testing.assert_allclose(
        single, plain, rtol=1e-5, atol=max(2e-4 * np.std(plain), 2e-6)
    )  # float32, on sums near log C


@pytest.mark.parametrize("name", PLAIN)
def test_order_of_classes_does_not_matter(name):
    perm = RNG.permutation(30)
    np.testing.assert_allclose(
        array_evidence(COSINES[:, perm], SCALE, names=[name])[name],
        array_evidence(COSINES, SCALE, names=[name])[name],
        rtol=1e-9,
        atol=1e-12,
    )


def make(scale, bias=0.0):
    return bare_log(IMAGES, TEXT, [str(i) for i in range(30)], scale, bias)


@pytest.mark.parametrize("scale, bias", [(100.0, 0.0), (SCALE, 0.0), (117.3, -12.9)])
def test_log_gives_what_the_array_gives(scale, bias):
    "At least twelve scores, equal to float32 rounding, measured against the spread of each score."
    assert 0.02 < COSINES.std() < 0.2
    got, exact = evidence_frame(make(scale, bias)), array_evidence(COSINES, scale, bias)
    assert got.shape[1] >= 12
    for name in got:  # what lies outside five classes is below the resolution of float32 in rows as sure as these
        share = 0.1 if name == "delta_energy_c5" else 1e-3
        np.testing.assert_allclose(got[name], exact[name], atol=share * exact[name].std(), err_msg=name)


def test_log_of_clip_gives_all_but_four():
    assert set(PLAIN) - set(available_evidence(make(100.0))) == {"entropy_t0.02", "entropy_t0.1", "entropy_t1", "gen"}


def test_log_of_few_classes_gives_all():
    "With at most ten classes a log holds the whole row."
    log = bare_log(IMAGES, TEXT[:8], [str(i) for i in range(8)], 100.0)
    exact = array_evidence(COSINES[:, :8], 100.0)
    got = evidence_frame(log)
    assert set(PLAIN) == set(got)
    for name in got:
        np.testing.assert_allclose(got[name], exact[name], atol=1e-3 * exact[name].std(), err_msg=name)


def test_log_of_logits():
    z = 30 * COSINES
    got, exact = evidence_frame(log_from_logits(z, [str(i) for i in range(30)])), array_evidence(z)
    assert set(got) <= set(exact) and got.shape[1] >= 12 and "mcm" not in got
    for name in got:
        np.testing.assert_allclose(got[name], exact[name], atol=1e-3 * exact[name].std(), err_msg=name)


def test_direction():
    "Images far from every class score higher than images at a class, on average, in every score but two that read the absolute cosine level."
    y = RNG.integers(30, size=300)
    near, far = unit(TEXT[y] + 0.1 * RNG.normal(size=(300, 64))), unit(RNG.normal(size=(300, 64)) + 0.5)
    gap = array_evidence(far @ TEXT.T, 100.0).mean() - array_evidence(near @ TEXT.T, 100.0).mean()
    assert set(gap.index[gap <= 0]) <= {"mean_text", "energy_cosine"}, gap[gap <= 0]


def test_what_was_trained_is_read_from_the_registry():
    assert {n for n, e in EVIDENCE.items() if e.trained} == {
        "kl_matching",
        "mahalanobis",
        "relative_mahalanobis",
        "vim",
        "residual",
        "knn",
        "prototype_cosine",
        "gap_projection",
        "centred_cosine",
        "cosine_pattern",
    }


@pytest.fixture
def registries():
    "The registries as they were, afterwards."
    before, files = dict(EVIDENCE), dict(FILES)
    yield
    for now, then in ((EVIDENCE, before), (FILES, files)):
        now.clear()
        now.update(then)


def test_a_new_score_of_a_row_is_one_entry(registries):
    "It is in tables of arrays and logs, stored where a log cannot give it, and counted as training-free."
    register(
        Evidence(
            "median",
            "text",
            "a test",
            "median of s",
            lambda v: np.median(v.s, axis=1) if hasattr(v, "s") else v.top(v.count)[:, v.count // 2],
            cosine=True,
        )
    )
    assert "median" in array_evidence(COSINES, SCALE) and "median" not in available_evidence(make(100.0))
    log = add_evidence(bare_log(IMAGES, TEXT, [str(i) for i in range(30)], 100.0, keep_embeddings=True), TEXT)
    np.testing.assert_allclose(evidence_frame(log)["median"], np.median(COSINES, axis=1), atol=1e-3)
    assert log.manifest.evidence["median"]["needs"] == ["row"] and "median" in training_free(
        available_evidence(log), log
    )


def test_a_new_fitted_score_is_one_class(registries, tmp_path):
    "It is fitted, stored with its parameters, saved, loaded, and counted as trained."

    @dataclass(frozen=True, eq=False)
    class Centre(FittedScore):
        kind = "centre"
        evidence = (Evidence("centre", "geometry", "a test", needs=frozenset({"reference"})),)
        mean: np.ndarray

        @classmethod
        def fit(cls, features):
            return cls(features.mean(axis=0))

        def score(self, features):
            return np.linalg.norm(features - self.mean, axis=1)

        def params(self):
            return {"width": len(self.mean)}

    scores = EmbeddingScores.fit(IMAGES[:40], TEXT)
    scores.save(tmp_path)
    again = EmbeddingScores.load(tmp_path)
    np.testing.assert_allclose(
        again.columns(IMAGES)["centre"], np.linalg.norm(IMAGES - IMAGES[:40].mean(axis=0), axis=1), rtol=1e-12
    )
    assert again.entries()["centre"] == {
        "group": "geometry",
        "source": "a test",
        "needs": ["reference"],
        "params": {"width": 64},
    }
    assert "centre" in scores.names() and not training_free(["centre"])


def test_a_column_the_wrong_way_round_is_said_and_not_turned():
    log = bare_log(IMAGES, TEXT, [str(i) for i in range(30)], 100.0, roles=["id"] * 40 + ["ood"] * 40)
    familiar = Evidence("familiar", "picture", "a test", needs=frozenset({"pixels"}))
    own = add_evidence(log, {"familiar": log.is_id.astype(float)}, [familiar])
    with pytest.warns(
        UserWarning, match="evidence 'familiar' is lower for OoD than for ID rows .AUROC 0.00 on 40 ID and 40 OoD rows"
    ):
        assert evidence_frame(own, ["familiar"])["familiar"].tolist() == log.is_id.astype(float).tolist()
