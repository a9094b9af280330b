#!/usr/bin/env python3
"""Trains the digit classifier that the examples run and writes every file derived from it.

Data: the UCI "Optical Recognition of Handwritten Digits" images that scikit-learn ships (1797 grey images of
8x8 pixels). A quarter, chosen by a fixed seed and stratified by class, is held out: it is never trained on and
no choice here depends on it. The split mixes writers, so the accuracy says how well the network learned this data set,
not how well it reads a stranger's hand. The files in the repository come from torch 2.15 on a CPU: 447 of the
450 held-out images right (99.3 %).

Needs: pip install torch onnx onnxscript scikit-learn numpy
Run:   python3 examples/digits/train.py

Writes next to this file:
  digits.onnx        input `image` [batch,1,8,8] f32 in 0..1, output `logits` [batch,10] f32; `batch` is dynamic
  images/<label><n>.pgm   sample images from the held-out set (P5, 8x8, grey 0..255)
  samples.png             the same, enlarged on one sheet, for people
and into tests/data/digits/:
  images.npy u8 [n,8,8], labels.npy u8 [n]   the whole held-out set; a pixel enters the network as value / 255
  logits.npy f32 [n,10]                      what PyTorch answers for each of them
"""

import pathlib
import struct
import zlib
from collections import OrderedDict

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

SEED = 7
EPOCHS = 120
SAMPLES_PER_DIGIT = 2

HERE = pathlib.Path(__file__).resolve().parent
TEST_DATA = HERE.parent.parent / "tests" / "data" / "digits"


def conv_bn_relu(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            norm=nn.BatchNorm2d(outputs),
            relu=nn.ReLU(),
        )
    )


def network() -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            block1=conv_bn_relu(1, 16),
            block2=conv_bn_relu(16, 32),
            pool=nn.MaxPool2d(2),
            block3=conv_bn_relu(32, 48),
            flatten=nn.Flatten(),
            dropout=nn.Dropout(0.3),
            classifier=nn.Linear(48 * 4 * 4, 10),
        )
    )


def to_input(images: np.ndarray) -> torch.Tensor:
    """u8 [n,8,8] -> f32 [n,1,8,8] in 0..1."""
    return torch.from_numpy(images.astype(np.float32) / 255.0)[:, None]


def shifted(batch: torch.Tensor) -> torch.Tensor:
    """Each image moved by -1, 0 or 1 pixel in both directions."""
    padded = nn.functional.pad(batch, (1, 1, 1, 1))
    dy, dx = torch.randint(0, 3, (2, len(batch))).tolist()
    return torch.stack([padded[i, :, y : y + 8, x : x + 8] for i, (y, x) in enumerate(zip(dy, dx))])


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    batches = -(-len(images) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=EPOCHS * batches)
    model.train()
    for _ in range(EPOCHS):
        for index in torch.randperm(len(images)).split(64):
            loss = nn.functional.cross_entropy(model(shifted(images[index])), labels[index], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()


def export(model: nn.Module, path: pathlib.Path) -> None:
    program = torch.onnx.export(
        model,
        (torch.zeros(2, 1, 8, 8),),
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        dynamo=True,
    )
    for node in program.model.graph:  # the exporter notes the paths of this machine's Python files here
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)
    program.save(str(path), external_data=False)


def write_samples(folder: pathlib.Path, images: np.ndarray, labels: np.ndarray) -> None:
    """The first few held-out images of every digit, whether the network reads them correctly or not."""
    folder.mkdir(exist_ok=True)
    for digit in range(10):
        for n, image in enumerate(images[labels == digit][:SAMPLES_PER_DIGIT]):
            name = f"{digit}{'abcdefgh'[n]}.pgm"
            (folder / name).write_bytes(b"P5\n8 8\n255\n" + image.tobytes())


def write_sheet(path: pathlib.Path, images: np.ndarray, labels: np.ndarray) -> None:
    """The samples on one sheet: a column for each digit, every pixel as a square of 5 pixels, 4 pixels between them."""
    columns = []
    for digit in range(10):
        samples = images[labels == digit][:SAMPLES_PER_DIGIT]
        columns.append(np.vstack([np.pad(image.repeat(5, 0).repeat(5, 1), 4) for image in samples]))
    sheet = np.hstack(columns)
    scanlines = b"".join(b"\0" + row.tobytes() for row in sheet)
    header = struct.pack(">IIBBBBB", sheet.shape[1], sheet.shape[0], 8, 0, 0, 0, 0)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(scanlines, 9)), (b"IEND", b"")):
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def main() -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # sums in one order, so that a run repeats
    digits = load_digits()
    images = np.round(digits.images * (255.0 / 16.0)).astype(np.uint8)
    labels = digits.target.astype(np.uint8)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=0.25, random_state=SEED, stratify=labels
    )

    model = network()
    train(model, to_input(train_x), torch.from_numpy(train_y.astype(np.int64)))
    with torch.no_grad():
        logits = model(to_input(test_x)).numpy()
    right = int((logits.argmax(1) == test_y).sum())
    print(f"held-out accuracy {right}/{len(test_y)} = {right / len(test_y):.4f}")

    export(model, HERE / "digits.onnx")
    write_samples(HERE / "images", test_x, test_y)
    write_sheet(HERE / "samples.png", test_x, test_y)
    TEST_DATA.mkdir(parents=True, exist_ok=True)
    np.save(TEST_DATA / "images.npy", test_x)
    np.save(TEST_DATA / "labels.npy", test_y)
    np.save(TEST_DATA / "logits.npy", logits)


if __name__ == "__main__":
    main()
