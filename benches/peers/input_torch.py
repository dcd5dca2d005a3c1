"""The tutorial's input pipeline in PyTorch's DataLoader, one worker process per thread."""

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import peer


def by_hand(images):
    """The tutorial's distortions written in NumPy: the fastest form that was found."""
    random = np.random.default_rng()

    def transformed(index):
        top, left = random.integers(0, 32 - peer.CROP_PX + 1, 2)
        x = images[index, top : top + peer.CROP_PX, left : left + peer.CROP_PX].astype(np.float32)
        if random.random() < 0.5:
            x = x[:, ::-1]
        x = x + random.uniform(-63, 63)
        mean = x.mean((0, 1))
        x = (x - mean) * random.uniform(0.2, 1.8) + mean
        x = (x - x.mean()) / max(x.std(), x.size**-0.5)
        return torch.from_numpy(np.ascontiguousarray(x, np.float32))

    return transformed


def by_torchvision(images):
    """The usual form: torchvision's transforms of PIL images, the nearest that they have."""
    from PIL import Image
    from torchvision import transforms

    def whitened(x):
        return (x - x.mean()) / x.std(correction=0).clamp_min(x.numel() ** -0.5)

    steps = [
        transforms.RandomCrop(peer.CROP_PX),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(brightness=63 / 255, contrast=(0.2, 1.8)),
        transforms.ToTensor(),
        whitened,
    ]
    chain = transforms.Compose(steps)
    return lambda index: chain(Image.fromarray(images[index]))


class Images(Dataset):
    def __init__(self, transformed, labels):
        self.transformed = transformed
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transformed(index), self.labels[index]


def endless(loader):
    while True:
        yield from loader


def main():
    parser = peer.arguments(__doc__)
    forms = {"numpy": by_hand, "torchvision": by_torchvision}
    parser.add_argument("--transforms", choices=forms, default="numpy")
    given = parser.parse_args()
    images, labels = peer.training_images(given.data)
    loader = DataLoader(
        Images(forms[given.transforms](images), labels),
        batch_size=peer.BATCH,
        shuffle=True,
        num_workers=given.threads,
        prefetch_factor=4,
        drop_last=True,
        persistent_workers=True,
    )
    # What starts the processes copies no images: they are forked, and share them.
    torch.set_num_threads(1)
    batches = endless(loader)
    first, _ = next(batches)
    assert first.shape[0] == peer.BATCH and first.dtype == torch.float32
    images_per_s = peer.rate_of_many(lambda: next(batches), peer.BATCH, given.seconds)
    peer.report(images_per_s=images_per_s, version=torch.__version__.split("+")[0])


if __name__ == "__main__":
    main()
