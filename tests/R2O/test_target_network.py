"""The target follows the online network as its formula says; neither pictures nor refinement move anything else."""

import copy

import pytest
import torch
from torch import Tensor, nn

from R2O.target import follower, looked_at, move
from tests.R2O.conftest import BuildModel, MakeInputs


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))


def shifted(network: nn.Module) -> nn.Module:
    """A network that differs in every tensor."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            tensor.add_(3)
    return other


@pytest.mark.parametrize("momentum", [1.0, 0.0, 0.25, 0.99])
def test_each_parameter_moves_by_the_formula_and_buffers_stay(momentum: float) -> None:
    target = small()
    before, online = copy.deepcopy(target), shifted(target)
    move(target, online, momentum)
    for ours, old, theirs in zip(target.parameters(), before.parameters(), online.parameters(), strict=True):
        expected = momentum * old + (1 - momentum) * theirs
        if momentum in (0.0, 1.0):
            assert torch.equal(ours, expected)
        torch.testing.assert_close(ours, expected)
    assert all(torch.equal(now, old) for now, old in zip(target.buffers(), before.buffers(), strict=True))


def test_a_follower_is_an_equal_copy_without_gradients() -> None:
    online = small()
    target = follower(online)
    for ours, theirs in zip(target.parameters(), online.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.data_ptr() != theirs.data_ptr()
        assert (ours.requires_grad, theirs.requires_grad) == (False, True)


def test_looking_at_a_network_puts_every_module_back_into_its_mode() -> None:
    network = small().train()
    network[1].eval()
    with looked_at(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == [True, True, False]


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


def test_the_target_starts_as_the_online_network(build_model: BuildModel) -> None:
    model = build_model()
    online = model.online.state_dict()
    assert all(torch.equal(tensor, online[name]) for name, tensor in model.target.state_dict().items())
    assert {name.split(".")[0] for name, tensor in model.named_parameters() if tensor.requires_grad} == {
        "online",
        "predictor",
    }


def test_it_moves_once_per_optimiser_step_however_many_micro_batches(
    build_model: BuildModel, make_inputs: MakeInputs
) -> None:
    model = build_model()
    with torch.no_grad():
        for tensor in model.online.parameters():
            tensor.mul_(1.5)
    weights = dict(model.target.named_parameters())
    start = {name: tensor.clone() for name, tensor in weights.items()}
    model(make_inputs())
    assert all(torch.equal(weights[name], start[name]) for name in start)
    model.set_step(4, 0.5)
    for _ in range(2):
        model(make_inputs())
        for name, tensor in model.online.named_parameters():
            torch.testing.assert_close(weights[name], (start[name] + tensor) / 2)
    model.set_step(4, 1.0)
    moved = {name: tensor.clone() for name, tensor in weights.items()}
    model(make_inputs())
    assert all(torch.equal(weights[name], moved[name]) for name in start)


def test_the_target_gets_no_gradient(build_model: BuildModel, make_inputs: MakeInputs) -> None:
    model = build_model()
    model.set_step(4, 0.9)
    torch.autograd.backward(model(make_inputs()).losses.mean())
    for name, tensor in model.named_parameters():
        assert (tensor.grad is None) == name.startswith("target."), name


def test_refinement_touches_buffers_of_the_target_alone(build_model: BuildModel, make_inputs: MakeInputs) -> None:
    model, inputs = build_model(), make_inputs()
    before = snapshot(model)
    model._refine(inputs["photo"], inputs["superpixels"], 4)
    names = changed(before, model)
    assert names
    assert all(name.startswith("target.trunk.early.1.") and "weight" not in name for name in names)
    assert all(tensor.grad is None for tensor in model.parameters())


def test_it_refines_before_it_moves(
    build_model: BuildModel, make_inputs: MakeInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_model()
    seen: list[Tensor] = []
    scale = model.target.get_parameter("trunk.early.1.weight")
    clustered = model.target.trunk.clustered

    def noted(pictures: Tensor) -> Tensor:
        seen.append(scale.detach().clone())
        return clustered(pictures)

    monkeypatch.setattr(model.target.trunk, "clustered", noted)
    torch.nn.init.constant_(model.online.get_parameter("trunk.early.1.weight"), 7.0)
    model.set_step(4, 0.0)
    model(make_inputs())
    assert seen[0].tolist() == [1.0] * 5
    assert scale.tolist() == [7.0] * 5


def test_pictures_change_nothing(build_model: BuildModel, make_inputs: MakeInputs) -> None:
    model, inputs = build_model(), make_inputs()
    model.set_step(3, 0.9)
    before, random = snapshot(model), torch.get_rng_state()
    ids = model.regions_of(inputs["photo"], inputs["superpixels"], 2)
    assert changed(before, model) == set()
    assert torch.equal(torch.get_rng_state(), random)
    assert all(module.training for module in model.modules())
    assert (model.clusters, ids.shape) == (3, (2, 8, 8))
    assert set(ids.flatten().tolist()) <= {0, 1}
    superpixels = model.regions_of(inputs["photo"], inputs["superpixels"], None)
    assert superpixels[0].tolist() == [[0] * 4 + [1] * 4] * 4 + [[2] * 4 + [3] * 4] * 4
