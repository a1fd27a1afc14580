"""The package, what it needs and its extras."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = {}
exec((HERE / "keras_acet" / "version.py").read_text(encoding="utf-8"), VERSION)

setup(
    name="keras_acet",
    version=VERSION["__version__"],
    description="Keras classifiers that know when they don't know: CEDA and ACET for TensorFlow 2 and Keras 3.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    # find_packages() bare would install tests as a top-level package
    packages=[
        *find_packages(include=["keras_acet", "keras_acet.*"]),
        *("keras_acet." + name for name in find_packages(include=["export", "export.*"])),
        "keras_acet.recipes",
    ],
    package_dir={"keras_acet.export": "export", "keras_acet.recipes": "recipes"},
    package_data={
        "keras_acet": ["py.typed"],
        "keras_acet.recipes": ["*/*.flags"],
        "keras_acet.report": ["templates/*"],
        "keras_acet.export": ["templates/*", "demo/*", "serving/*", "serving/*/*"],
    },
    entry_points={"console_scripts": ["keras-acet = keras_acet.cli.main:main"]},
    python_requires=">=3.11,<3.14",
    install_requires=[
        # These three are tested together; Keras changes what a custom train_step meets between minor versions.
        "tensorflow>=2.21.0,<2.22",
        "keras>=3.15.0,<3.16",
        # tf.summary lives there, and TensorFlow 2.21 no longer brings it. Must match TensorFlow's minor version.
        "tensorboard>=2.20.0,<2.22",
        "absl-py>=2.1",
        "numpy>=2.0",
        "tqdm>=4.60",  # progress of evaluation and export
        "tensorflow-datasets>=4.9.10,<5",
        "importlib_resources",  # tensorflow-datasets 4.9.10 imports it without asking for it
        "scikit-learn>=1.5",  # digits, moons and the sample photographs
        "scipy>=1.12",  # exact intervals and the temperature's root; scikit-learn brings it
        "pillow>=10",  # image folders and the sample photographs
        "jinja2>=3.1",  # the report's pages
        "matplotlib>=3.8",  # and its figures
        # What an export writes and checks. These versions are tested together; tf2onnx is picky about the others.
        "onnx>=1.20,<2",
        "tf2onnx>=1.17.0,<1.18",
        "onnxruntime>=1.24,<2",
        "tensorflow-serving-api>=2.21.0,<2.22",  # the protos of warm-up requests; must match TensorFlow's minor version
    ],
    extras_require={
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.5",  # `make test` shares the tests between two processes
            "ruff>=0.9",
            "mypy>=1.14",
            "build>=1.2",
            "selenium>=4.20",  # opens the report and the demo page in Chromium, where that is installed
            "pyyaml>=6",  # reads the serving manifests
        ],
    },
)
