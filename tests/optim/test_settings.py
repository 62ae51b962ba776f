"""What a user may set: the contract's signatures and defaults, and one clear sentence for everything else."""

import inspect

import pytest
import torch

from kronla.optim import SOAP, EShampoo, OptimalKronecker, Shampoo, Shampoo2

CLASSES = [Shampoo, Shampoo2, OptimalKronecker, EShampoo, SOAP]

pytestmark = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def parameters(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((12, 9), (9,))]


BAD = [
    ({"lr": -1.0}, ValueError, "lr must be a finite number ≥ 0, but is -1.0"),
    ({"lr": "fast"}, TypeError, "lr must be"),
    ({"lr": float("nan")}, ValueError, "lr must be"),
    ({"betas": (0.9, 1.0)}, ValueError, "betas must be a pair of numbers in"),
    ({"betas": 0.9}, ValueError, "betas must be"),
    ({"eps": -1e-8}, ValueError, "eps must be"),
    ({"weight_decay": float("inf")}, ValueError, "weight_decay must be"),
    ({"factor_beta": 1.5}, ValueError, "factor_beta must be None"),
    ({"update_every": 0}, ValueError, "update_every must be a whole number ≥ 1, but is 0"),
    ({"update_every": 2.5}, ValueError, "update_every must be"),
    ({"max_dim": 0}, ValueError, "max_dim must be"),
    ({"maximize": 1}, ValueError, "maximize must be True or False"),
    ({"foreach": "yes"}, ValueError, "foreach must be"),
    ({"early_steps": 0}, ValueError, "early_steps must be"),
    ({"max_failures": 0}, ValueError, "max_failures must be"),
]
BAD_OF = {
    EShampoo: [
        ({"tol": 1.5}, ValueError, r"tol must be a number in \[0, 1\], but is 1.5"),
        ({"tol": float("nan")}, ValueError, "tol must be"),
        ({"max_steps": -1}, ValueError, "max_steps must be"),
        ({"method": "jacobi"}, ValueError, "method must be one of"),
        ({"large": "diagonal"}, ValueError, 'large must not be "diagonal" here'),
    ],
    SOAP: [({"vectors": "diagonal"}, ValueError, 'vectors must not be "diagonal" here')],
}
ROOTS = [Shampoo, Shampoo2, OptimalKronecker]
BAD_OF |= {
    cls: [
        ({"damping": -1.0}, ValueError, "damping must be"),
        ({"relative_damping": float("nan")}, ValueError, "relative_damping must be"),
        ({"exponent": 0.25}, ValueError, "exponent must be None"),
        ({"exponent": "half"}, TypeError, "exponent must be"),
        ({"grafting": "lamb"}, ValueError, 'grafting must be one of "adam", "rmsprop", .*None, but is \'lamb\''),
    ]
    for cls in ROOTS
}


def test_bad_settings_raise_one_clear_sentence(cls):
    for settings, error, sentence in BAD + BAD_OF[cls]:
        with pytest.raises(error, match=sentence) as caught:
            cls(parameters(), **settings)
        assert "\n" not in str(caught.value)
        optimizer = cls(parameters())
        with pytest.raises(error, match=sentence):
            optimizer.add_param_group({"params": parameters(seed=1), **settings})
        assert len(optimizer.param_groups) == 1


def test_signatures_are_the_contracts(cls):
    common = "lr betas eps weight_decay"
    shampoo = "factor_beta damping relative_damping exponent update_every grafting max_dim early_steps"
    seen = "merge_dims large vectors"
    own = {
        Shampoo: f"{shampoo} {seen}",
        Shampoo2: f"{shampoo} {seen}",
        OptimalKronecker: shampoo,
        EShampoo: f"factor_beta update_every tol max_steps method max_dim early_steps {seen}",
        SOAP: f"factor_beta update_every max_dim early_steps {seen}",
    }[cls]
    parameters_of = inspect.signature(cls).parameters
    names = list(parameters_of)
    assert names == ["params", *common.split(), *own.split(), "max_failures", "maximize", "foreach"]
    assert all(parameters_of[name].kind is inspect.Parameter.KEYWORD_ONLY for name in names[5:])
    ours = {
        "early_steps": 20 if cls in (Shampoo2, OptimalKronecker) else 1,
        "merge_dims": cls is not SOAP,
        "large": "blocks",
        "vectors": "identity",
    }
    ours |= {"max_failures": 10, "maximize": False, "foreach": None}
    defaults = {
        Shampoo: [1e-3, (0.9, 0.999), 1e-8, 0.0, None, 1e-12, 0.0, None, 10, "adam", 1024],
        Shampoo2: [1e-3, (0.9, 0.999), 1e-8, 0.0, None, 1e-12, 1e-4, None, 10, None, 1024],
        OptimalKronecker: [1e-3, (0.9, 0.999), 1e-8, 0.0, None, 1e-12, 1e-4, None, 10, None, 1024],
        EShampoo: [1e-3, (0.9, 0.999), 1e-8, 0.0, None, 1, 0.1, 1, "auto", 1024],
        SOAP: [3e-3, (0.95, 0.95), 1e-8, 0.01, None, 10, 1024],
    }[cls]
    expected = dict(zip(names[1:], defaults, strict=False)) | {name: ours[name] for name in names if name in ours}
    assert {name: parameters_of[name].default for name in names[1:]} == expected
