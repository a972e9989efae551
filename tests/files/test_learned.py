"""Mode 5: what the container does with a prior, whatever the prior is."""

import io

import pytest

from tests.files.coded_samples import ramp
from tests.files.fake_prior import RampPrior
from vqkit.errors import CodingError, TokenFileError
from vqkit.files import (
    ChunkPrior,
    CodingResources,
    dumps,
    loads,
    read_info,
    read_tokens,
    verify,
    write_tokens,
)

RESOURCES = CodingResources(prior=RampPrior())


def test_the_stand_in_is_a_prior() -> None:
    assert isinstance(RampPrior(), ChunkPrior)


def test_a_prior_codes_what_it_predicts() -> None:
    data = dumps(ramp(), resources=RESOURCES, chunk_rows=7)
    assert read_info(data).streams[0].modes == (5,)
    assert "learned prior" in read_info(data).streams[0].coding
    assert len(data) < len(dumps(ramp(), chunk_rows=7))
    assert loads(data, resources=RESOURCES).same_as(ramp())
    assert read_tokens(io.BytesIO(data), resources=RESOURCES).same_as(ramp())
    assert verify(data, resources=RESOURCES) == read_info(data)


def test_written_files_are_read_back_with_the_prior(tmp_path) -> None:
    info = write_tokens(ramp(), tmp_path / "ramp.vqt", resources=RESOURCES)
    assert info.streams[0].modes == (5,)
    assert write_tokens(ramp(), io.BytesIO(), resources=RESOURCES) == info


def test_a_chunk_begins_with_the_digest() -> None:
    data = dumps(ramp(), resources=RESOURCES)
    assert data[read_info(data).header_bytes + 5 :].startswith(b"ramp")


@pytest.mark.parametrize(
    ("resources", "got"),
    [
        (None, "got none"),
        (CodingResources(), "got none"),
        (CodingResources(prior=RampPrior(b"\0\1\2\3")), "got one with digest 00010203"),
    ],
)
def test_a_missing_prior_is_named_with_the_way_to_give_it(resources, got: str) -> None:
    data = dumps(ramp(), resources=RESOURCES)
    for read in (loads, verify):
        with pytest.raises(
            TokenFileError, match=f"expected the prior with digest 72616d70, {got}.*with -m"
        ):
            read(data, resources=resources)


def test_what_the_prior_does_not_cover_is_coded_otherwise() -> None:
    data = dumps(ramp(), resources=CodingResources(prior=RampPrior(stream="gain")))
    assert data == dumps(ramp())


def test_a_prior_that_fails_costs_bytes_and_never_tokens() -> None:
    class Forgetful(RampPrior):
        def decode(self, stream, payload, grid, codebook_sizes):
            decoded = super().decode(stream, payload, grid, codebook_sizes)
            decoded[5] = 0
            return decoded

    class Failing(RampPrior):
        def decode(self, stream, payload, grid, codebook_sizes):
            raise CodingError("expected nothing")

    for prior in (Forgetful(), Failing()):
        assert dumps(ramp(), resources=CodingResources(prior=prior)) == dumps(ramp())


def test_answers_of_a_prior_are_checked() -> None:
    data = dumps(ramp(), resources=RESOURCES)

    class Beyond(RampPrior):
        def decode(self, stream, payload, grid, codebook_sizes):
            return super().decode(stream, payload, grid, codebook_sizes) + 300

    class Short(RampPrior):
        def decode(self, stream, payload, grid, codebook_sizes):
            return super().decode(stream, payload, grid, codebook_sizes)[1:]

    class Raising(RampPrior):
        def decode(self, stream, payload, grid, codebook_sizes):
            raise CodingError("expected other bytes")

    class Elsewhere(RampPrior):
        def covers(self, stream, grid, codebook_sizes):
            return False

    for prior, message in [
        (Beyond(), "indices within their codebooks"),
        (Short(), r"int64 \[600, 2\] of the prior, got int64 \[599, 2\]"),
        (Raising(), "expected other bytes"),
        (Elsewhere(), "a chunk that its prior covers"),
    ]:
        with pytest.raises(TokenFileError, match=message):
            loads(data, resources=CodingResources(prior=prior))
