"""Scores against the output of the code that was published with them.

fixtures/published_scores.json holds small arrays, what each published function gave on them, and where it came from (repository, commit, file,
function). None of that code is needed here. The second half runs pytorch-ood, where it is installed.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from attrood.evidence import scores as S
from attrood.evidence.distances import KNN, KLMatching, Mahalanobis, ViM
from attrood.evidence.neglabel import mine_negatives, neglabel_score
from attrood.evidence.patches import gl_mcm, patch_features
from attrood.log.indicators import conf, energy

FIXTURE = json.loads((Path(__file__).parent / "fixtures" / "published_scores.json").read_text())
I = {k: np.array(v) for k, v in FIXTURE["inputs"].items()}
TOLERANCE = dict(rtol=1e-6, atol=1e-6)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


TEXT, X, TRAIN, Y = unit(I["text"]), I["test"], I["train"], I["train_labels"]
COSINES = unit(X) @ TEXT.T
LOGITS = X @ I["weights"].T + I["bias"]
TRAIN_LOGITS = TRAIN @ I["weights"].T + I["bias"]
NEGATIVES = np.concatenate([unit(I["nouns"]), unit(I["adjectives"])])


def mined():
    "Row numbers of the mined words, nouns first."
    return np.r_[
        mine_negatives(I["nouns"], TEXT, 0.95, 0.4), len(I["nouns"]) + mine_negatives(I["adjectives"], TEXT, 0.95, 0.4)
    ]


def neglabel():
    logits = 100 * unit(X) @ np.c_[TEXT.T, NEGATIVES[mined()].T]
    return neglabel_score(
        logits[:, : len(TEXT)], logits[:, len(TEXT) :], groups=5, order=FIXTURE["scores"]["neglabel"]["params"]["order"]
    )


def local_cosines():
    return (unit(I["patches"]) @ TEXT.T).reshape(len(X), -1, len(TEXT))


OURS = {
    "mcm": lambda: S.mcm(COSINES),
    "mcm_t0.1": lambda: S.mcm(COSINES, 0.1),
    "max_cosine": lambda: S.max_cosine(COSINES),
    "energy_cosine": lambda: S.energy_cosine(COSINES),
    "entropy_t1": lambda: S.softmax_entropy(COSINES, 1.0),
    "softmax_variance_t1": lambda: S.softmax_variance(COSINES, 1.0),
    "gl_mcm": lambda: gl_mcm(COSINES, local_cosines()),
    "gl_mcm_half": lambda: gl_mcm(COSINES, local_cosines(), weight=0.5),
    "neglabel_mined": mined,
    "neglabel": neglabel,
    "msp_vimrepo": lambda: -conf(LOGITS),
    "max_logit_vimrepo": lambda: S.max_logit(LOGITS),
    "energy_vimrepo": lambda: energy(LOGITS),
    "vim_vimrepo": lambda: ViM.fit(TRAIN, I["weights"], I["bias"]).score(X),
    "residual_vimrepo": lambda: ViM.fit(TRAIN, I["weights"], I["bias"]).residual(X),
    "mahalanobis_vimrepo": lambda: Mahalanobis.fit(TRAIN, Y, shrinkage="empirical").score(X),
    "kl_matching_vimrepo": lambda: KLMatching.fit(TRAIN_LOGITS).score(LOGITS),
    "gen_openood": lambda: S.gen(LOGITS),
    "gen_m3_openood": lambda: S.gen(LOGITS, gamma=0.5, top=3),
    "knn_openood": lambda: KNN.fit(TRAIN, k=7).score(X),
    "vim_openood": lambda: ViM.fit(TRAIN, I["weights"], I["bias"], dimension=5).score(X),
    "mahalanobis_openood": lambda: Mahalanobis.fit(TRAIN, Y, shrinkage="empirical").score(X),
    "relative_mahalanobis_openood": lambda: Mahalanobis.fit(TRAIN, Y, relative=True, shrinkage="empirical").score(X),
    "kl_matching_openood": lambda: KLMatching.fit(TRAIN_LOGITS).score(LOGITS),
    "energy_openood": lambda: energy(LOGITS),
    "energy_t2_openood": lambda: energy(LOGITS, 2.0),
    "msp_openood": lambda: -conf(LOGITS),
}


@pytest.mark.parametrize("name", sorted(OURS))
def test_equals_published_code(name):
    np.testing.assert_allclose(OURS[name](), FIXTURE["scores"][name]["values"], **TOLERANCE)


def test_every_fixture_is_used_and_says_where_it_is_from():
    towers = {"gl_mcm_tower_global", "gl_mcm_tower_local"}
    assert set(FIXTURE["scores"]) == set(OURS) | towers
    for entry in FIXTURE["scores"].values():
        assert entry["origin"]["repository"].startswith("https://github.com/") and len(entry["origin"]["commit"]) == 40
        assert entry["origin"]["file"] and entry["origin"]["function"]


def test_patch_features_equal_gl_mcm_vision_tower():
    "An OpenCLIP tower with the same weights gives the image and patch features of the GL-MCM code."
    torch, open_clip = pytest.importorskip("torch"), pytest.importorskip("open_clip")
    model = open_clip.CLIP(
        embed_dim=12,
        vision_cfg=dict(image_size=16, patch_size=8, width=64, layers=2, head_width=64),
        quick_gelu=True,
        text_cfg=dict(context_length=8, vocab_size=50, width=16, heads=2, layers=1),
    ).eval()
    norms = ("ln_1.weight", "ln_2.weight", "ln_pre.weight", "ln_post.weight")
    with torch.no_grad():
        for i, (name, p) in enumerate(
            sorted(model.visual.named_parameters())
        ):  # the same rule that filled the published tower
            wave = torch.sin(torch.arange(p.numel(), dtype=torch.float64) * (1 + 0.37 * i) + i).reshape(p.shape)
            p.copy_(float(name.endswith(norms)) + 0.1 * wave)
    images = torch.sin(torch.arange(2 * 3 * 16 * 16, dtype=torch.float64) * 0.7).reshape(2, 3, 16, 16).to(torch.float32)
    whole, local = patch_features(model, images)
    np.testing.assert_allclose(
        whole.numpy(), FIXTURE["scores"]["gl_mcm_tower_global"]["values"], atol=2e-6
    )  # both in single precision
    np.testing.assert_allclose(local.numpy(), FIXTURE["scores"]["gl_mcm_tower_local"]["values"], atol=2e-6)


RNG = np.random.default_rng(0)
Z, Z_FIT = (
    RNG.normal(size=(200, 20)),
    RNG.normal(size=(400, 20)) * 3,
)  # no probability below 1e-7, where pytorch-ood clips
F_FIT, F = RNG.normal(size=(400, 16)), RNG.normal(size=(200, 16)) * 1.3
LABELS = np.arange(400) % 5
W, B = RNG.normal(size=(5, 16)), RNG.normal(size=5)
SINGLE = dict(rtol=1e-5, atol=5e-5)  # for detectors that cast to single precision, on values up to 10
PEERS = {
    # name: (ours, theirs given torch tensors, tolerance)
    "msp": (lambda: -conf(Z), lambda d, t: d.MaxSoftmax(None).predict_logits(t(Z)), TOLERANCE),
    "energy": (lambda: energy(Z), lambda d, t: d.EnergyBased(None).predict_logits(t(Z)), TOLERANCE),
    "max_logit": (lambda: S.max_logit(Z), lambda d, t: d.MaxLogit(None).predict_logits(t(Z)), TOLERANCE),
    "entropy": (lambda: S.softmax_entropy(Z), lambda d, t: d.Entropy(None).predict_logits(t(Z)), TOLERANCE),
    "gen": (
        lambda: S.gen(Z) / 20,
        lambda d, t: d.GEN(None).predict_logits(t(Z)),
        TOLERANCE,
    ),  # theirs is a mean over the 20 classes
    "kl_matching": (
        lambda: KLMatching.fit(Z_FIT).score(Z),
        lambda d, t: d.KLMatching(None).fit_logits(t(Z_FIT)).predict_logits(t(Z)),
        TOLERANCE,
    ),
    "mahalanobis": (  # theirs is half the distance, under a scatter that is not divided by n
        lambda: Mahalanobis.fit(F_FIT, LABELS, shrinkage="empirical").score(F) / (2 * len(F_FIT)),
        lambda d, t: d.Mahalanobis(None).fit_features(t(F_FIT).float(), t(LABELS)).predict_features(t(F).float()),
        dict(rtol=1e-5, atol=1e-6),
    ),
    "relative_mahalanobis": (
        lambda: Mahalanobis.fit(F_FIT, LABELS, relative=True, shrinkage="empirical").score(F) / len(F_FIT),
        lambda d, t: d.RMD(None).fit_features(t(F_FIT).float(), t(LABELS)).predict_features(t(F).float()),
        dict(rtol=1e-5, atol=1e-6),
    ),
    "vim": (
        lambda: ViM.fit(F_FIT, W, B, dimension=6).score(F),
        lambda d, t: d.ViM(None, 6, t(W), t(B)).fit_features(t(F_FIT), t(LABELS)).predict_features(t(F)),
        SINGLE,
    ),
    "knn": (
        lambda: KNN.fit(F_FIT, k=9).score(F),
        lambda d, t: d.KNN(None, k=9).fit_features(t(unit(F_FIT)), t(LABELS)).predict_features(t(unit(F))) ** 2,
        TOLERANCE,
    ),
}


@pytest.mark.parametrize("name", sorted(PEERS))
def test_equals_pytorch_ood(name):
    torch, detector = pytest.importorskip("torch"), pytest.importorskip("pytorch_ood.detector")
    ours, theirs, tolerance = PEERS[name]
    np.testing.assert_allclose(ours(), theirs(detector, torch.tensor).numpy(), **tolerance)
