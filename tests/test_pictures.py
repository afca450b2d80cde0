"""Awkward pictures: every format, mode, turn and damage is a picture of three channels the right way up, or one line that says what is wrong."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from attrood.data.pictures import decode_image

SIZE = (13, 7)
RAMP = np.linspace(0, 255, SIZE[0] * SIZE[1] * 3).reshape(SIZE[1], SIZE[0], 3).astype(np.uint8)
SCENE = Image.fromarray(RAMP)
MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("L", "P", "RGB"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"),
    "PPM": ("1", "L", "RGB", "I;16"),
    "TGA": ("L", "LA", "P", "RGB", "RGBA"),
    "PCX": ("1", "L", "P", "RGB"),
    "ICO": ("RGBA",),
}


def encoded(fmt: str, mode: str, **more) -> bytes:
    f = io.BytesIO()
    made = Image.fromarray(RAMP[..., 0].astype(np.uint16) * 257) if mode == "I;16" else SCENE.convert(mode)
    made.save(f, fmt, **more)
    return f.getvalue()


def turned(way: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = way
    return encoded("JPEG", "RGB", exif=exif, quality=95)


def cases() -> dict[str, bytes]:
    "Name of each picture, and its bytes."
    jpeg, png = encoded("JPEG", "RGB"), encoded("PNG", "RGB")
    made = {f"{f} {m}": encoded(f, m) for f, modes in MODES.items() for m in modes}
    made |= {f"turned {w}": turned(w) for w in range(10)}
    made |= {
        f"cut {n} at {s:g}": d[: int(len(d) * s)]
        for (n, d), s in itertools.product({"JPEG": jpeg, "PNG": png}.items(), (0.02, 0.3, 0.7, 0.98))
    }
    frames = [SCENE, SCENE.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    made |= {
        f"animated {f}": encoded(f, "RGB", save_all=True, append_images=frames) for f in ("GIF", "WEBP", "PNG", "TIFF")
    }
    made |= {
        "progressive": encoded("JPEG", "RGB", progressive=True),
        "half colour": encoded("JPEG", "RGB", subsampling=2),
        "interlaced palette with transparency": encoded("PNG", "P", transparency=0),
        "broken EXIF": encoded("JPEG", "RGB", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        "broken profile": encoded("PNG", "RGB", icc_profile=b"no profile"),
        "text after the end": jpeg + b"<html>" * 9,
        "text before the beginning": b"\n\n" + jpeg,
        "nothing": b"",
        "nul bytes": b"\0" * 500,
        "text": b"not found",
        "a page": b"<!doctype html><title>404</title>",
        "a drawing": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "a head alone": png[:33],
        "two in one": jpeg + png,
    }
    return made


CASES = cases()
DAMAGED = ("cut ", "nothing", "nul", "text", "a ")


def test_there_are_many():
    assert len(CASES) >= 59


@pytest.mark.parametrize("name", CASES)
def test_a_picture_or_one_line(name):
    try:
        made = np.asarray(decode_image(CASES[name]))
    except (ValueError, OSError) as e:
        assert name.startswith(DAMAGED) and str(e) and "\n" not in str(e), (name, e)
        return
    flat = name.removeprefix("turned ") in ("5", "6", "7", "8")
    assert made.dtype == np.uint8 and made.shape == ((*SIZE, 3) if flat else (*SIZE[::-1], 3)), name
    if name.startswith(("PNG", "BMP", "PPM", "TGA", "PCX", "TIFF")) and name.split()[1] in (
        "RGB",
        "L",
        "RGBA",
        "I;16",
        "LA",
    ):
        due = (
            RAMP
            if "RGB" in name
            else RAMP[..., :1].repeat(3, 2)
            if "I;16" in name
            else np.asarray(SCENE.convert("L").convert("RGB"))
        )
        assert np.abs(made.astype(int) - due).max() <= 1, name
    if name.startswith("turned "):
        way = int(name.split()[1])
        back = {
            2: lambda a: a[:, ::-1],
            3: lambda a: a[::-1, ::-1],
            4: lambda a: a[::-1],
            5: lambda a: a.transpose(1, 0, 2),
            6: lambda a: np.rot90(a, -1),
            7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
            8: lambda a: np.rot90(a),
        }
        due = back.get(way, lambda a: a)(np.asarray(Image.open(io.BytesIO(CASES["turned 1"]))))
        assert np.abs(made.astype(int) - due).mean() < 6, name
