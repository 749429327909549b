"""The networks as a fixture."""

import pytest

from .networks import NETS, made


@pytest.fixture(params=NETS)
def net(request):
    return made(request.param)
