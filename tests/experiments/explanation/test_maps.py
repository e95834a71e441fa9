import copy
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from experiments.explanation.maps import METHODS, WITHOUT_EVIDENCE, explaining
from experiments.explanation.measures import departure
from Off_the_shelfs.backbones import Backbone
from Off_the_shelfs.build import build_off_the_shelf
from Off_the_shelfs.config import BackboneConfig, OffTheShelfModelConfig, OneViewDataConfig
from RveRNets.config import RveRNetModelConfig
from RveRNets.model import RveRNet, build_rvernet
from utils.batch import ViewSpec
from utils.data_sections import DataConfig
from utils.errors import ConfigError, RunError

CNN = BackboneConfig(name="test_efficientnet", pretrained=False)
VIT = BackboneConfig(name="test_vit", pretrained=False)
SIDE, CLASSES = 64, 5


class Patches(nn.Module):
    """Features that are the mean of a linear map of 4×4 patches."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_features = channels
        self.conv = nn.Conv2d(3, channels, 4, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.mean(self.conv(x), dim=(2, 3))


def linear_network() -> RveRNet:
    torch.manual_seed(0)
    roi, extra_roi = (Backbone(Patches(channels), BackboneConfig(), 16) for channels in (4, 6))
    spec = ViewSpec(16, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    model = RveRNet(roi, extra_roi, {"roi": spec, "extra_roi": spec}, 3, 7, 0.0)
    model.head = nn.Linear(10, 3)
    return model


def last_linear(model: RveRNet) -> nn.Linear:
    assert isinstance(model.head, nn.Sequential)
    assert isinstance(model.head[-1], nn.Linear)
    return model.head[-1]


def without_biases(model: RveRNet) -> RveRNet:
    for layer in model.head.modules():
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
    return model


def rvernet(roi: BackboneConfig = CNN, extra_roi: BackboneConfig = VIT, tied: bool = False) -> RveRNet:
    torch.manual_seed(0)
    config = RveRNetModelConfig(roi_backbone=roi, extra_roi_backbone=extra_roi, tied=tied, hidden_width=16)
    return build_rvernet(config, DataConfig(image_size=SIDE), CLASSES).eval()


def pictures(side: int = SIDE, count: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {view: torch.randn(count, 3, side, side, generator=generator) for view in ("roi", "extra_roi")}


def test_maps_of_a_linear_two_input_network_equal_the_closed_form() -> None:
    model, views = linear_network(), pictures(16)
    target = torch.tensor([2, 0, 1])
    with explaining(model) as explainer:
        found = explainer.explain(views, target)
    assert isinstance(model.head, nn.Linear)
    weights = torch.split(model.head.weight.detach(), [4, 6], dim=1)
    parts = []
    for (view, backbone), columns in zip(model.backbones.items(), weights, strict=True):
        conv: Any = backbone.model.conv
        patches = views[view].unfold(2, 4, 4).unfold(3, 4, 4)  # B×3×4×4 patches of 4×4
        values = torch.einsum("bchwij,kcij->bkhw", patches, conv.weight) + conv.bias[:, None, None]
        expected = torch.einsum("bk,bkhw->bhw", columns[target], values) / 16
        np.testing.assert_allclose(found.maps[view], expected.detach().numpy(), rtol=1e-4, atol=1e-6)
        parts.append(found.maps[view].sum(axis=(1, 2)))
        own = columns[target].detach() * values.detach().mean(dim=(2, 3))
        np.testing.assert_allclose(found.contributions[view], own.numpy(), rtol=1e-4, atol=1e-6)
    logits = model(views).detach().numpy()[np.arange(3), target.numpy()]
    bias = model.head.bias.detach().numpy()[target.numpy()]
    np.testing.assert_allclose(sum(parts) + bias, logits, rtol=1e-4)


def test_behind_a_relu_maps_without_biases_add_up_to_the_logit() -> None:
    model, views = without_biases(rvernet(CNN, CNN)), pictures()
    with explaining(model) as explainer:
        found = explainer.explain(views)
    total = sum(values.sum(axis=(1, 2)) for values in found.maps.values())
    np.testing.assert_allclose(total, found.logits.max(axis=1), rtol=1e-3, atol=1e-5)


def test_contributions_of_a_transformer_and_a_cnn_add_up_to_the_logit() -> None:
    """Without biases the head is homogeneous: by Euler's theorem Σ f_i ∂y/∂f_i over both modules is y."""
    model, views = without_biases(rvernet(VIT, CNN)), pictures()
    with explaining(model) as explainer:
        found = explainer.explain(views)
    parts = {view: values.sum(axis=1) for view, values in found.contributions.items()}
    np.testing.assert_allclose(parts["roi"] + parts["extra_roi"], found.logits.max(axis=1), rtol=1e-3, atol=1e-5)
    assert departure(found.maps["extra_roi"].sum(axis=(1, 2)), parts["extra_roi"]) < 1e-4
    assert departure(found.maps["roi"].sum(axis=(1, 2)), parts["roi"]) > 0.1  # a class token stands between


def test_contributions_equal_finite_differences() -> None:
    """A piecewise linear head: scaling one feature by 1 ± ε changes the logit by ± ε times what the feature adds."""
    model, views = rvernet(VIT, CNN).double(), {view: values.double() for view, values in pictures().items()}
    with explaining(model) as explainer:
        found = explainer.explain(views, torch.tensor([0, 1, 2]))
    with torch.no_grad():
        features = {view: backbone(views[view]) for view, backbone in model.backbones.items()}
        for view, place in (("roi", 3), ("extra_roi", 40)):
            ends = []
            for factor in (1 + 1e-5, 1 - 1e-5):
                changed = features | {view: features[view].clone()}
                changed[view][:, place] *= factor
                ends.append(model.fuse(changed)[range(3), [0, 1, 2]])
            slope = (ends[0] - ends[1]).numpy() / 2e-5
            np.testing.assert_allclose(found.contributions[view][:, place], slope, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(("method", "least_cells"), [("gradcam", 4), ("eigencam", 1), ("layercam", 3)])
def test_contributions_do_not_depend_on_layer_and_method(method: str, least_cells: int, two_modules: RveRNet) -> None:
    views = pictures()
    with explaining(two_modules) as explainer:
        expected = explainer.explain(views)
    with explaining(two_modules, method, least_cells=least_cells) as explainer:
        found = explainer.explain(views)
    for view in views:
        np.testing.assert_allclose(found.contributions[view], expected.contributions[view], rtol=1e-4, atol=1e-7)


def test_tied_backbones_give_the_maps_of_untied_copies() -> None:
    tied, views = rvernet(CNN, CNN, tied=True), pictures()
    untied = rvernet(CNN, CNN)
    untied.roi_backbone, untied.extra_roi_backbone = (copy.deepcopy(tied.roi_backbone) for _ in range(2))
    untied.head = copy.deepcopy(tied.head)
    for method in ("gradcam", "layercam"):
        with explaining(tied, method) as one, explaining(untied, method) as other:
            found, expected = one.explain(views), other.explain(views)
        assert np.abs(found.maps["roi"] - found.maps["extra_roi"]).max() > 0
        for view in views:
            np.testing.assert_allclose(found.maps[view], expected.maps[view], rtol=1e-5, atol=1e-8)
            np.testing.assert_allclose(found.contributions[view], expected.contributions[view], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("config", [CNN, VIT])
def test_maps_of_a_one_view_model_are_the_librarys_up_to_its_scaling(config: BackboneConfig) -> None:
    data = OneViewDataConfig(image_size=SIDE)
    model = build_off_the_shelf(OffTheShelfModelConfig(backbone=config), data, CLASSES).eval()
    view = pictures()["roi"]
    with explaining(model) as explainer:
        found = explainer.explain({"roi": view}, torch.tensor([0, 1, 2]))
        layer = explainer.layers["roi"]
    network = nn.Sequential(model.backbone, model.head)
    with GradCAM(network, [layer.module], reshape_transform=layer.to_map) as cam:
        cam(view, [ClassifierOutputTarget(k) for k in (0, 1, 2)])
        recorder = cam.activations_and_grads
        activations, gradients = recorder.activations[0].numpy(), recorder.gradients[0].numpy()
        raw = cam.get_cam_image(view, layer.module, [], activations, gradients, False)
        scaled = cam(view, [ClassifierOutputTarget(k) for k in (0, 1, 2)])
    np.testing.assert_allclose(found.maps["roi"], raw, rtol=1e-4, atol=1e-7)
    assert scaled.shape == (3, SIDE, SIDE)


@pytest.fixture(scope="module")
def two_modules() -> RveRNet:
    return rvernet()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_both_modules_a_map(method: str, two_modules: RveRNet) -> None:
    views = pictures(count=2)
    with explaining(two_modules, method) as explainer:
        found = explainer.explain(views)
    assert {view: values.shape for view, values in found.maps.items()} == {"roi": (2, 2, 2), "extra_roi": (2, 4, 4)}
    assert all(np.isfinite(values).all() and values.any() for values in found.maps.values())
    assert set(WITHOUT_EVIDENCE) < set(METHODS)


def test_a_pairs_maps_do_not_depend_on_its_batch(two_modules: RveRNet) -> None:
    views = pictures()
    with explaining(two_modules) as explainer:
        together = explainer.explain(views)
        alone = explainer.explain({view: values[1:2] for view, values in views.items()})
    for view in views:
        np.testing.assert_allclose(alone.maps[view][0], together.maps[view][1], rtol=1e-3, atol=1e-6)


def test_explaining_leaves_the_model_as_it_was() -> None:
    model, views = rvernet().train(), pictures()
    model.roi_backbone.eval()
    next(model.extra_roi_backbone.parameters()).requires_grad_(False)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    wishes = [weight.requires_grad for weight in model.parameters()]
    state = torch.get_rng_state()
    with torch.no_grad(), explaining(model) as explainer:
        explainer.explain(views)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert [weight.requires_grad for weight in model.parameters()] == wishes
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_logits_of_left_out_classes_take_no_part() -> None:
    model, views = rvernet(), pictures()
    last_linear(model).bias.data[1] = 50.0
    with explaining(model, columns=[4, 2, 0]) as explainer:
        found = explainer.explain(views)
    expected = model(views)[:, [4, 2, 0]].detach()
    np.testing.assert_allclose(found.logits, expected.numpy(), rtol=1e-4, atol=1e-6)
    assert found.target.tolist() == expected.argmax(dim=1).tolist()


def test_bad_input() -> None:
    model, views = rvernet(), pictures()
    with pytest.raises(
        ConfigError, match=r"--method gradcan is not known; did you mean 'gradcam'.* Allowed: gradcam, "
    ):
        explaining(model, "gradcan").__enter__()
    with torch.no_grad():
        last_linear(model).weight.fill_(float("nan"))
    with explaining(model) as explainer, pytest.raises(RunError, match="logits are not finite"):
        explainer.explain(views)
