import pytest
import torch

from Off_the_shelfs.salience.selector import SalienceNet, map_side
from utils.errors import ConfigError

WIDTHS = [16, 32, 64]


@pytest.mark.parametrize(
    ("side", "last", "parameters"), [(32, 3, 24097), (64, 7, 26657), (128, 15, 37921), (224, 27, 70177)]
)
def test_sides_and_parameters_of_the_reference(side: int, last: int, parameters: int) -> None:
    net = SalienceNet(side, WIDTHS, "flatten")
    assert map_side(side, 3) == last
    assert sum(weight.numel() for weight in net.parameters()) == parameters


@pytest.mark.parametrize("side", [15, 31, 32, 33])
@pytest.mark.parametrize("readout", ["flatten", "average"])
def test_one_number_a_picture(side: int, readout: str) -> None:
    net = SalienceNet(side, WIDTHS, readout)  # type: ignore[arg-type]
    assert net(torch.rand(2, 1, side, side)).shape == (2,)
    assert net.eval()(torch.rand(1, 1, side, side)).shape == (1,)


def test_an_average_leaves_the_size_free() -> None:
    counts = {sum(weight.numel() for weight in SalienceNet(side, WIDTHS, "average").parameters()) for side in (15, 64)}
    assert counts == {24097 - 576 + 64}


def test_logits_are_not_bounded_and_pictures_do_not_see_each_other_in_eval_mode() -> None:
    net = SalienceNet(15, [4, 8], "flatten").eval()
    pictures = torch.rand(5, 1, 15, 15)
    alone = torch.cat([net(picture) for picture in torch.split(pictures, 1)])
    torch.testing.assert_close(net(pictures), alone)
    with torch.no_grad():
        net.linear.bias.fill_(-1000.0)
    assert (net(pictures) < -900).all()


@pytest.mark.parametrize(("convolutions", "least"), [(1, 3), (2, 7), (3, 15)])
def test_a_grey_copy_that_the_convolutions_use_up_is_refused(convolutions: int, least: int) -> None:
    SalienceNet(least, WIDTHS[:convolutions], "flatten")
    with pytest.raises(ConfigError, match=rf"grey_side is {least - 1}, .* leave nothing; use at least {least}"):
        SalienceNet(least - 1, WIDTHS[:convolutions], "flatten")
