"""Exports the models that are measured, with seeded random weights, from PyTorch.

usage: export.py FOLDER [NAME ...]

Writes NAME.onnx, NAME.npz (inputs in0, in1, ..., and PyTorch's output out0), and for PyTorch as a peer NAME.pt and NAME.pt2, as far as
it can. Models that are there stay as they are. Weights are drawn so that activations neither die out nor saturate: a model whose output
hardly depends on its input would hide wrong results, and is an error.
"""

import pathlib
import sys
import warnings

import numpy as np
import torch
import torchvision

LEAST_CHANGE = 1e-2
WORDS = 30000


def image():
    return (torch.randn(1, 3, 224, 224),)


def text():
    """128 tokens, of which the last ones are padding."""
    mask = torch.ones(1, 128, dtype=torch.int64)
    mask[:, 100:] = 0
    return torch.randint(0, WORDS, (1, 128)), mask


def sequence():
    return (torch.randn(1, 100, 80),)


class Encoder(torch.nn.Module):
    """A BERT, of which the last hidden state is the output."""

    def __init__(self, layers, width):
        super().__init__()
        from transformers import BertConfig, BertModel

        config = BertConfig(num_hidden_layers=layers, hidden_size=width, num_attention_heads=12, intermediate_size=4 * width)
        self.bert = BertModel(config, add_pooling_layer=False)

    def forward(self, tokens, mask):
        return self.bert(input_ids=tokens, attention_mask=mask).last_hidden_state


class Recurrent(torch.nn.Module):
    """Two LSTM layers and a projection."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.LSTM(80, 512, 2, batch_first=True)
        self.output = torch.nn.Linear(512, 64)

    def forward(self, x):
        return self.output(self.layers(x)[0])


VISION = {
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "vgg16": "vgg16",
    "squeezenet1_1": "squeezenet1_1",
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3_large": "mobilenet_v3_large",
    "efficientnet_b0": "efficientnet_b0",
    "densenet121": "densenet121",
    "convnext_tiny": "convnext_tiny",
    "shufflenet_v2": "shufflenet_v2_x1_0",
    "vit_b_16": "vit_b_16",
    "swin_t": "swin_t",
}
MODELS = {name: (getattr(torchvision.models, function), image) for name, function in VISION.items()}
MODELS["minilm"] = (lambda: Encoder(6, 384), text)
MODELS["bert_base"] = (lambda: Encoder(12, 768), text)
MODELS["lstm"] = (Recurrent, sequence)


@torch.no_grad()
def liven(model, inputs):
    """Gives parameters that start as constants some spread, and batch normalisations the statistics of random images."""
    for name, parameter in model.named_parameters():
        if name.endswith("layer_scale"):
            parameter.uniform_(0.5, 1.5)
        elif parameter.numel() > 1 and parameter.std() < 1e-5:
            parameter.add_(0.05 * torch.randn_like(parameter))
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    if norms:
        model(torch.randn(4, *inputs[0].shape[1:]))
        model.eval()


@torch.no_grad()
def make(name, folder):
    """The model, and its inputs, which are saved with its output."""
    new, inputs_of = MODELS[name]
    torch.manual_seed(0)
    model, inputs, others = new().eval(), inputs_of(), inputs_of()
    liven(model, inputs)
    output = model(*inputs)
    change = float((output - model(*others)).abs().max() / output.abs().max())
    if change < LEAST_CHANGE:
        raise RuntimeError(f"the output hardly depends on the input: {change:.1e}")
    arrays = {f"in{index}": tensor.numpy() for index, tensor in enumerate(inputs)}
    np.savez(folder / f"{name}.npz", **arrays, out0=output.numpy())
    return model, inputs


def save_onnx(model, inputs, path, **options):
    names = {"input_names": [f"in{index}" for index in range(len(inputs))], "output_names": ["out0"]}
    torch.onnx.export(model, inputs, path, dynamo=True, external_data=False, verbose=False, **names, **options)


@torch.no_grad()
def export(name, folder):
    model, inputs = make(name, folder)
    save_onnx(model, inputs, folder / f"{name}.onnx")
    # The report names a peer whose file is missing.
    for suffix, save in ((".pt2", save_exported), (".pt", save_traced)):
        try:
            save(model, inputs, folder / f"{name}{suffix}")
        except Exception as error:
            print(f"{name}{suffix}: {str(error).splitlines()[0]}", file=sys.stderr)


def save_exported(model, inputs, path):
    torch.export.save(torch.export.export(model, inputs), path)


def save_traced(model, inputs, path):
    torch.jit.trace(model, inputs, strict=False, check_trace=False).save(path)


def main():
    warnings.filterwarnings("ignore")
    folder, names = pathlib.Path(sys.argv[1]), sys.argv[2:] or list(MODELS)
    folder.mkdir(parents=True, exist_ok=True)
    failed = False
    for index, name in enumerate(names):
        if name in MODELS and not (folder / f"{name}.onnx").is_file():
            print(f"[{index + 1}/{len(names)}] exporting {name}", file=sys.stderr, flush=True)
            try:
                export(name, folder)
            except Exception as error:
                failed = True
                print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
