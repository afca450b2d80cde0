"""The pocket model through open_clip's own factory."""

import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

from attrood.inference import pocket

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import train_pocket

SHARED = Path(__file__).parents[2] / "shared" / "data" / "images"
WEIGHTS = pocket.DATA / "pocket.safetensors"
NAMES = ["pizza", "sushi", "ice_cream", "steak"]
needs_weights = pytest.mark.skipif(not WEIGHTS.exists(), reason="this installation has no pocket weights")


def synthetic() -> np.ndarray:
    "A 64-pixel picture that needs no file: three smooth waves."
    y, x = np.mgrid[0:64, 0:64] / 64
    waves = [np.sin(2 * np.pi * (3 * x + y)), np.cos(2 * np.pi * (x - 2 * y)), np.sin(2 * np.pi * 4 * x * y)]
    return (127.5 + 100 * np.stack(waves, -1)).round().astype(np.uint8)


def test_random_weights_through_the_factory():
    pocket.register_pocket()
    logging.disable(logging.WARNING)
    model, _, preprocess = open_clip.create_model_and_transforms("pocket", pretrained=None)
    logging.disable(logging.NOTSET)
    tokenizer = open_clip.get_tokenizer("pocket")
    from PIL import Image

    image = preprocess(Image.fromarray(synthetic()))[None]
    assert image.shape == (1, 3, 64, 64)
    torch.testing.assert_close(
        image, pocket.to_tensor(torch.from_numpy(synthetic())[None]).contiguous(), rtol=0, atol=1e-6
    )
    with torch.inference_mode():
        assert model.encode_image(image).shape == model.encode_text(tokenizer(["a photo of pizza"])).shape == (1, 128)


def test_any_text_has_tokens():
    pocket.register_pocket()
    tokens = open_clip.get_tokenizer("pocket")(["", "an ☃ in Nîmes " * 20, "pizza"])
    config = pocket.pocket_config()["text_cfg"]
    assert tokens.shape == (3, config["context_length"]) and int(tokens.max()) == config["vocab_size"] - 1


def test_configuration_is_plain_open_clip():
    config = json.loads((pocket.DATA / "pocket.json").read_text())
    assert set(config) == {"embed_dim", "vision_cfg", "text_cfg"} and config["vision_cfg"]["image_size"] == 64


@needs_weights
def test_size_and_known_output():
    from safetensors import safe_open

    assert WEIGHTS.stat().st_size <= 10_000_000
    with safe_open(WEIGHTS, framework="pt") as file:
        kinds = {file.get_tensor(k).dtype for k in file.keys()}
    assert kinds <= {torch.float16, torch.int64}
    model, _, tokenizer = pocket.load_pocket()
    with torch.inference_mode():
        text = pocket.embed_classes(model, tokenizer, NAMES)
    logits = pocket.predict_pocket(model, synthetic()[None], text)[0]
    known = json.loads((Path(__file__).parent / "pocket_known.json").read_text())
    np.testing.assert_allclose(logits, known["logits"], rtol=0, atol=2e-3)  # float32 kernels differ between processors


@needs_weights
@pytest.mark.skipif(not (SHARED / "food101_64_test.parquet").exists(), reason="the Food-101 test images are not here")
def test_top1_on_food101():
    known = json.loads((Path(__file__).parent / "pocket_known.json").read_text())
    result = pocket.evaluate_pocket(SHARED / "food101_64_test.parquet")
    assert result["count"].sum() == 10_100
    assert abs(result["top1"] - known["top1"]) < 0.002


def test_missing_file_is_one_line(capsys):
    assert train_pocket.main(["test", "--data", "nowhere.parquet", "--weights", "nowhere.safetensors"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
