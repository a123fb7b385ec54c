"""GPT-2 as others store it: the names of transformers' GPT2LMHeadModel, config.json and model.safetensors, in and out.

So a model trained here opens in transformers, and a GPT-2 downloaded elsewhere opens here. It is the same model; only
the names differ, and that GPT-2's own program kept matrices as (inputs, outputs), which are turned here. What has no
place in its config.json (rotary positions, RMSNorm, SwiGLU, grouped queries, norms of queries and keys) cannot go out;
a missing bias can, as zeros.

A safetensors file is a line of JSON with names, shapes and places, then the numbers; nothing in it can run. Neither has
it a digest: names, shapes and sizes that do not fit are seen, and numbers that are not finite, but not that one finite
number became another. The .bin files of older models are pickles, which are programs: they are not read.

The libraries come with the extra `export`; only `to_transformers` needs transformers itself. Dropout of the weights of
attention, which we lack, is not read. Explained in docs/en/stage5_gpt.md.
"""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from my_llm.errors import CheckpointError, ConfigError
from my_llm.files import write_atomically
from stage4_transformer.models import EPSILON
from stage5_gpt.models.gpt import GPT, GPTConfig
from stage5_gpt.models.official import check

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

Tensors = Mapping[str, Tensor]
INSTALL = 'pip install -e ".[export]"'

# --- names ------------------------------------------------------------------------------------------------------------

PREFIX = "transformer."  # of all names but the head's; GPT-2's own file is without
TOP = {
    "embedding.weight": "transformer.wte.weight",
    "positions.table": "transformer.wpe.weight",
    "norm.weight": "transformer.ln_f.weight",
    "norm.bias": "transformer.ln_f.bias",
    "head.weight": "lm_head.weight",
}
BLOCK = {
    "norm_attention": "ln_1",
    "attention.inward": "attn.c_attn",
    "attention.outward": "attn.c_proj",
    "norm_feed_forward": "ln_2",
    "feed_forward.inward": "mlp.c_fc",
    "feed_forward.outward": "mlp.c_proj",
}
BUFFERS = (".attn.bias", ".attn.masked_bias")  # the causal mask, which older files hold too


def names(layers: int) -> dict[str, str]:
    """Our name → theirs, of every weight."""
    parts = {
        f"blocks.{i}.{ours}": f"transformer.h.{i}.{theirs}" for i in range(layers) for ours, theirs in BLOCK.items()
    }
    return TOP | {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in parts.items() for kind in ("weight", "bias")}


def turned(name: str, tensor: Tensor) -> Tensor:
    """A matrix of a block, by our name, from rows to columns; all else as it is."""
    return tensor.t() if tensor.ndim == 2 and name.endswith(("inward.weight", "outward.weight")) else tensor


def to_gpt2(weights: Tensors, layers: int) -> dict[str, Tensor]:
    """Our state dict by their names. Where there is no bias: zeros, which do the same."""
    found = {}
    for ours, theirs in names(layers).items():
        if ours in weights:
            found[theirs] = turned(ours, weights[ours]).contiguous()
        else:
            weight = weights[ours.removesuffix("bias") + "weight"]
            found[theirs] = weight.new_zeros(len(weight))
    return found


def from_gpt2(tensors: Tensors, layers: int, path: Path | str = "state dict") -> dict[str, Tensor]:
    """Their state dict by our names; without a head of its own the embedding is the head.

    Args:
        tensors: With or without `transformer.` before each name.
        layers: Number L of blocks.
        path: Where they come from, for the message.

    Raises:
        CheckpointError: a weight is missing, or nobody knows it.
    """
    own = {key if key.startswith((PREFIX, "lm_head.")) else PREFIX + key: value for key, value in tensors.items()}
    if len(own) < len(tensors):
        raise CheckpointError("a weight is there twice, with and without `transformer.`", got=path)
    own = {key: value for key, value in own.items() if not key.endswith(BUFFERS)}
    expected = names(layers)
    if PREFIX + "wte.weight" in own:
        own.setdefault("lm_head.weight", own[PREFIX + "wte.weight"])
    missing, unknown = sorted(set(expected.values()) - own.keys()), sorted(own.keys() - set(expected.values()))
    if missing or unknown:
        few = ", ".join([f"missing {name}" for name in missing[:3]] + [f"unknown {name}" for name in unknown[:3]])
        raise CheckpointError(f"not the weights of a GPT-2 with {layers} layers ({few})", got=path)
    return {ours: turned(ours, own[theirs]) for ours, theirs in expected.items()}


# --- config.json ------------------------------------------------------------------------------------------------------

SIZES = {  # their name → ours
    "vocab_size": "vocab_size", "n_positions": "context", "n_embd": "model", "n_layer": "layers", "n_head": "heads",
}  # fmt: skip
ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu2": "relu2"}
FIXED = {  # of what a GPT-2 can be told, ours does this only; it holds where config.json is silent
    "layer_norm_epsilon": EPSILON,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
LARGEST = 2**31 - 1
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def to_config(config: GPTConfig, end_of_text: int | None = None) -> dict[str, Any]:
    """What config.json says of it.

    Raises:
        ConfigError: a part that GPT-2 has not.
    """
    check(config, "GPT-2", "train one in GPT-2's form to give it away")
    activation = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}[config.activation]
    sizes = {theirs: getattr(config, ours) for theirs, ours in SIZES.items()}
    return {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], **sizes, **FIXED,
        "n_inner": config.hidden or None, "activation_function": activation,
        "embd_pdrop": config.dropout, "resid_pdrop": config.dropout, "attn_pdrop": 0.0, "dtype": "float32",
        "tie_word_embeddings": config.tied, "bos_token_id": end_of_text, "eos_token_id": end_of_text,
    }  # fmt: skip


def from_config(content: Mapping[str, Any], path: Path | str = "config.json") -> GPTConfig:
    """The way back.

    Raises:
        CheckpointError: not a GPT-2, or one that is told what ours cannot do.
    """
    if content.get("model_type") != "gpt2":
        raise CheckpointError(f"{path} describes another kind of model", got=content.get("model_type"), valid="gpt2")
    for name, valid in FIXED.items():
        if content.get(name, valid) != valid:
            raise CheckpointError(f"{path}: {name} is not what this GPT does", got=content[name], valid=str(valid))
    activation, rate = content.get("activation_function", "gelu_new"), content.get("resid_pdrop", 0.1)
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise CheckpointError(f"{path}: unknown activation_function", got=activation, valid=ACTIVATIONS)
    sizes: dict[str, Any] = {ours: content.get(theirs) for theirs, ours in SIZES.items()}
    sizes["hidden"] = content.get("n_inner") or 0
    for name, size in sizes.items():
        if type(size) is not int or not (name != "hidden") <= size <= LARGEST:
            raise CheckpointError(f"{path}: no usable size for {name}", got=size, valid=f"a number from 1 to {LARGEST}")
    if type(rate) not in (int, float) or not 0 <= rate < 1:
        raise CheckpointError(f"{path}: resid_pdrop is no rate of dropout", got=rate, valid="0 <= rate < 1")
    tied = content.get("tie_word_embeddings", True)
    return GPTConfig(**sizes, activation=ACTIVATIONS[activation], dropout=float(rate), tied=tied is not False)


# --- models -----------------------------------------------------------------------------------------------------------


def assembled(content: Mapping[str, Any], tensors: Tensors, path: Path | str) -> GPT:
    """A GPT from what config.json says and a state dict by their names; weights in fp32, copied.

    Raises:
        CheckpointError: they do not fit together, or a weight is not finite. Nothing is half loaded.
    """
    config = from_config(content, path)
    if config.layers > len(tensors):  # before so many layers are built
        raise CheckpointError("config.json speaks of more layers than there are weights", got=path)
    weights = from_gpt2(tensors, config.layers, path)
    try:
        with torch.device("meta"):  # shapes without memory: config.json may ask for any size
            model = GPT(config)
    except (ConfigError, RuntimeError, OverflowError) as error:
        raise CheckpointError(f"config.json describes no model ({error})", got=path) from None
    for name, expected in model.state_dict().items():
        if weights[name].shape != expected.shape or weights[name].dtype not in FLOATS:
            found = f"{tuple(weights[name].shape)} {weights[name].dtype}"
            raise CheckpointError(f"weight {name} does not fit", got=found, valid=f"{tuple(expected.shape)}, floats")
        weights[name] = weights[name].to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        if not torch.isfinite(weights[name]).all():
            raise CheckpointError(f"weight {name} is not finite", got=path)
    if config.tied and not torch.equal(weights["head.weight"], weights["embedding.weight"]):
        raise CheckpointError("config.json says that embedding and head are one; in the file they differ", got=path)
    model.load_state_dict(weights, assign=True)
    if config.tied:
        model.head.weight = model.embedding.weight
    return model


def extra(name: str) -> Any:
    """A library of the extra `export`; ConfigError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(f"{name.split('.')[0]} is not installed", next_step=INSTALL) from None


def to_transformers(model: GPT) -> "GPT2LMHeadModel":
    """transformers' own with a copy of our weights, in the same mode, precision and place.

    Raises:
        ConfigError: transformers is not installed, or a part that GPT-2 has not.
    """
    library = extra("transformers")
    copy = library.GPT2LMHeadModel(library.GPT2Config(**to_config(model.config))).to(model.embedding.weight)
    copy.load_state_dict(to_gpt2(model.state_dict(), model.config.layers))
    return copy.train(model.training)


# --- files ------------------------------------------------------------------------------------------------------------


def save_pretrained(model: GPT, folder: Path, end_of_text: int | None = None) -> None:
    """Write model.safetensors and config.json, from which `GPT2LMHeadModel.from_pretrained(folder)` reads the model.

    Args:
        model: In GPT-2's form; its weights are written in fp32.
        folder: Made where there is none.
        end_of_text: The token that ends a text, at which transformers stops to write.

    Raises:
        ConfigError: safetensors is not installed, or a part that GPT-2 has not.
        CheckpointError: disk full, no permission, not a folder.
    """
    content = to_config(model.config, end_of_text)
    tensors = {n: value.float().cpu() for n, value in to_gpt2(model.state_dict(), model.config.layers).items()}
    if model.config.tied:
        del tensors["lm_head.weight"]
    write_atomically(folder / "model.safetensors", extra("safetensors.torch").save(tensors, {"format": "pt"}))
    write_atomically(folder / "config.json", (json.dumps(content, indent=2) + "\n").encode())


def read_pretrained(path: Path) -> GPT:
    """A GPT-2 from a folder with config.json and model.safetensors, or a .safetensors file with config.json beside it.

    Raises:
        ConfigError: safetensors is not installed.
        CheckpointError: a file is missing, damaged, or not a GPT-2. Nothing is half loaded.
    """
    weights = path if path.suffix == ".safetensors" else path / "model.safetensors"
    for file in (weights, config := weights.with_name("config.json")):
        if not file.is_file():
            raise CheckpointError(
                "no such file", got=file, next_step="both config.json and model.safetensors are needed"
            )
    library = extra("safetensors.torch")
    try:
        content = json.loads(config.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read config.json ({type(error).__name__})", got=config) from None
    if not isinstance(content, dict):
        raise CheckpointError("config.json holds no settings", got=config)
    try:
        tensors = library.load_file(weights)
    except Exception as error:  # whatever a hostile file raises
        raise CheckpointError(f"not a whole safetensors file ({type(error).__name__})", got=weights) from None
    return assembled(content, tensors, path)
