"""Packaging of mmprune: the pinned sets of requirements/ become extras, what mmprune itself imports is required."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
#: Of configs and tools: what only the checkout needs.
LEFT_OUT = shutil.ignore_patterns('__pycache__', 'dev', 'results', 'benchmarks')


def requirements(*names: str) -> list[str]:
    """The requirement lines of requirements/<name>.txt, comments left out."""
    lines = [line for name in names for line in (ROOT / f'requirements/{name}.txt').read_text().splitlines()]
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


def split(lines: list[str]) -> tuple[list[str], list[str]]:
    """The mm family, and everything else.

    mmcv has to be compiled against the installed torch and there are two families of mm packages that overwrite each
    other; so none is pulled in behind a user's back. `make env` and the extra ``mm`` install the pinned ones.
    """
    mm = [line for line in lines if line.startswith('onedl-')]
    return mm, [line for line in lines if line not in mm]


class BuildWithConfigs(build_py):
    """Put configs, tools and the index of models into ``mmprune/.mim`` of a wheel, where `mim` looks for them.

    An editable install needs no copies: there `mim` looks in the checkout.
    """

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'mmprune/.mim'
        shutil.rmtree(target, ignore_errors=True)
        for folder in ('configs', 'tools'):
            shutil.copytree(ROOT / folder, target / folder, ignore=LEFT_OUT)
        shutil.copy2(ROOT / 'model-index.yml', target)


version: dict[str, str] = {}
exec((ROOT / 'mmprune/version.py').read_text(), version)
mm, others = split(requirements('mmcv', 'runtime'))

setup(
    name='mmprune',
    version=version['__version__'],
    description='Prune mm classifiers and detectors and repair them without the training data, from a config',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    python_requires='>=3.11',
    cmdclass={'build_py': BuildWithConfigs},
    packages=find_packages(include=['mmprune', 'mmprune.*']),
    install_requires=['torch>=2.4', 'torchvision', *(line.replace('==', '>=') for line in others)],
    extras_require={
        'mm': mm,
        'pinned': requirements('torch', 'mmcv', 'runtime'),
        'optional': requirements('optional'),
        'tests': requirements('tests'),
        'all': [*mm, *requirements('optional', 'tests')],
    },
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3.11',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
)
