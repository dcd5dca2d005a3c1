"""The tutorial's network in PyTorch: eager, activations in NHWC order (`channels_last`)."""

import torch
import torch.nn.functional as F

import peer


def main():
    given = peer.net_arguments(__doc__)
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    network = Network(given.lrn, given.bf16)
    if given.what == "train":
        batches = peer.batches(given.data, peer.BATCH)
        data = [(nhwc(images), torch.from_numpy(labels)) for images, labels in batches]
        step = lambda number: network.train(*data[number % len(data)]).item()
        images_per_s = peer.trained(step, given.seconds)
    else:
        pixels = nhwc(peer.images(given.data, given.batch)[0])
        with torch.inference_mode():
            score = lambda: network.logits(pixels)
            images_per_s = peer.rate(score, given.batch, given.seconds)
    peer.report(
        images_per_s=images_per_s,
        parameters=sum(p.numel() for p in network.parameters.values()),
        version=torch.__version__.split("+")[0],
    )


def nhwc(images):
    """Images in the order in which they lie, under PyTorch's names of the axes."""
    images = torch.from_numpy(images).permute(0, 3, 1, 2)
    return images.contiguous(memory_format=torch.channels_last)


class Network:
    def __init__(self, lrn, bf16):
        self.bf16 = bf16
        self.lrn = self.builtin_lrn if lrn == "builtin" else self.band_lrn
        self.parameters = {}
        for name, (shape, deviation, bias) in peer.LAYERS.items():
            weights = torch.empty(shape)
            torch.nn.init.trunc_normal_(weights, std=deviation, a=-2 * deviation, b=2 * deviation)
            if len(shape) == 4:
                weights = weights.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
            else:
                weights = weights.t().contiguous()
            self.parameters[f"{name}/weights"] = weights.requires_grad_()
            biases = torch.full(shape[-1:], bias)
            self.parameters[f"{name}/biases"] = biases.requires_grad_()
        self.neighbours = torch.from_numpy(peer.band(64))[..., None, None]
        self.averages = [p.detach().clone() for p in self.parameters.values()]
        values = self.parameters.values()
        self.optimizer = torch.optim.SGD(values, lr=peer.LEARNING_RATE, foreach=True)

    def layer(self, name):
        return self.parameters[f"{name}/weights"], self.parameters[f"{name}/biases"]

    @staticmethod
    def builtin_lrn(x):
        # PyTorch divides alpha by the number of channels in the window.
        size = 2 * peer.LRN_RADIUS + 1
        return F.local_response_norm(x, size, alpha=size * peer.LRN_ALPHA, beta=peer.LRN_BETA, k=1)

    def band_lrn(self, x):
        # d^(-3/4) as two roots.
        root = torch.rsqrt(F.conv2d(x * x, self.neighbours) * peer.LRN_ALPHA + 1.0)
        return x * (root * torch.sqrt(root))

    @staticmethod
    def pool(x):
        # As TensorFlow's SAME at these sizes: nothing before, one after.
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    def logits(self, images):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            x = F.relu(F.conv2d(images, *self.layer("conv1"), padding=2))
            x = self.lrn(self.pool(x))
            x = self.lrn(F.relu(F.conv2d(x, *self.layer("conv2"), padding=2)))
            # Rows in the order in which the values lie: a view, and the tutorial's order.
            x = self.pool(x).permute(0, 2, 3, 1).flatten(1)
            x = F.relu(F.linear(x, *self.layer("local3")))
            x = F.relu(F.linear(x, *self.layer("local4")))
            return F.linear(x, *self.layer("softmax_linear")).float()

    def train(self, images, labels):
        self.optimizer.zero_grad(set_to_none=True)
        decayed = [self.parameters[f"{name}/weights"] for name in ["local3", "local4"]]
        decay = 0.5 * peer.WEIGHT_DECAY * sum(w.square().sum() for w in decayed)
        loss = F.cross_entropy(self.logits(images), labels) + decay
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            values = list(self.parameters.values())
            torch._foreach_lerp_(self.averages, values, 1 - peer.AVERAGE_DECAY)
        return loss


if __name__ == "__main__":
    main()
