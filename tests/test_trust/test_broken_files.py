"""No file breaks mmprune: it is read as it was written, or refused in a line; nothing in it is ever run."""

import io
from itertools import islice
from pathlib import Path

import pytest
import torch
from mmengine.runner import checkpoint as host

import mmprune
from mmprune.checkpoint.reading import TRUST, read_checkpoint
from mmprune.errors import CheckpointError
from tests.test_trust import broken_files
from tests.test_trust.fuzz import met_badly
from tests.test_trust.small import network
from tests.test_trust.test_fuzzed_configs import SEED


@pytest.fixture(scope='module')
def data() -> bytes:
    return broken_files.pruned_checkpoint()


def test_the_file_itself_is_fine(data: bytes, tmp_path: Path) -> None:
    (tmp_path / 'a.pth').write_bytes(data)
    model = mmprune.load(network(), tmp_path / 'a.pth')
    assert model[0].out_channels == 4


@pytest.mark.parametrize(
    ('kind', 'number', 'least'), [('byte_cases', 150, 100), ('content_cases', 80, 20), ('structure_cases', 80, 50)]
)
def test_damaged_checkpoints(data: bytes, kind: str, number: int, least: int) -> None:
    counts, bad = met_badly(list(islice(getattr(broken_files, kind)(SEED, data), number)))
    assert not bad, bad
    assert counts['refused'] > least


def test_no_flipped_bit_goes_unnoticed(data: bytes, tmp_path: Path) -> None:
    """PyTorch itself would load other weights without a word: it does not look at the checksums in the file."""
    original = read_checkpoint(io.BytesIO(data))['state_dict']
    silent = 0
    for position in range(100, len(data), 211):
        spoilt = bytearray(data)
        spoilt[position] ^= 16
        (tmp_path / 'a.pth').write_bytes(spoilt)
        try:
            state = read_checkpoint(tmp_path / 'a.pth')['state_dict']
        except CheckpointError:
            try:
                state = torch.load(tmp_path / 'a.pth', weights_only=True)['state_dict']
                silent += not all(torch.equal(value, state[key]) for key, value in original.items())
            except Exception:
                continue
        else:
            assert all(torch.equal(value, state[key]) for key, value in original.items())
    assert silent > 3


def test_archives_that_claim_much(data: bytes) -> None:
    counts, bad = met_badly(list(broken_files.claims(data)))
    assert not bad and counts['refused'] == 5, bad


def test_nothing_is_executed(data: bytes, tmp_path: Path) -> None:
    for number, (name, content) in enumerate(broken_files.traps(tmp_path, data)):
        path = tmp_path / f'{number}.pth'
        path.write_bytes(content)
        for read in (
            read_checkpoint,
            lambda path: mmprune.load(network(), path),
            lambda path: host._load_checkpoint(str(path)),
            lambda path: host._safe_torch_load(io.BytesIO(path.read_bytes())),
        ):
            with pytest.raises(CheckpointError):
                read(path)
        assert not (tmp_path / 'executed').exists(), name


def test_vouching_for_files_is_the_only_way_out(data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, content = next(item for item in broken_files.traps(tmp_path, data) if item[0] == 'Path.touch in meta, zip')
    (tmp_path / 'a.pth').write_bytes(content)
    with pytest.raises(CheckpointError, match=f'could execute code.*{TRUST}=1.*with your rights'):
        read_checkpoint(tmp_path / 'a.pth')
    monkeypatch.setenv(TRUST, '1')
    with pytest.warns(UserWarning, match='is run with your rights'):
        read_checkpoint(tmp_path / 'a.pth')
    assert (tmp_path / 'executed').exists()


def test_no_torch_load_in_the_code_is_unsafe() -> None:
    root = Path(mmprune.__file__).parents[1]
    lines = [
        line
        for folder in ('mmprune', 'tools')
        for path in (root / folder).rglob('*.py')
        for line in path.read_text().splitlines()
        if 'torch.load(' in line and '``' not in line
    ]
    assert len(lines) > 3
    assert all('weights_only=True' in line or 'weights_only=not is_trusted()' in line for line in lines)


def test_other_files(tmp_path: Path) -> None:
    """Reports, pruning information, sets of images."""
    counts, bad = met_badly(list(islice(broken_files.json_cases(SEED, tmp_path), 200)))
    assert not bad, bad
    assert counts['refused'] > 100
