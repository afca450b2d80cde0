"""Packaging. Every value lives in settings.ini: edit there, not here."""

import shlex
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

parser = ConfigParser(delimiters=["="])
parser.read("settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]


def needs(kind: str) -> list[str]:
    "The requirement list `<kind>requirements` of settings.ini."
    return shlex.split(cfg[f"{kind}requirements"])


vlm, ray, dev = needs("vlm_"), needs("ray_"), needs("dev_")
setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    keywords=cfg["keywords"].split(),
    author=cfg["author"],
    author_email=cfg["author_email"],
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE.md"],
    url=cfg["git_url"],
    packages=find_packages(include=["attrood", "attrood.*"]),
    package_data={"attrood": ["py.typed", "assets/*"]},
    include_package_data=False,
    install_requires=needs(""),
    extras_require={"vlm": vlm, "ray": vlm + ray, "dev": vlm + ray + dev},
    python_requires=">=" + cfg["min_python"],
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    entry_points={"console_scripts": cfg["console_scripts"].split(), "nbdev": ["attrood=attrood._modidx:d"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    project_urls={"Documentation": cfg["doc_host"] + cfg["doc_baseurl"], "Source": cfg["git_url"]},
    zip_safe=False,
)
