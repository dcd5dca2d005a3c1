"""The tutorial's network in TensorFlow: a `tf.function` of the operations that it uses."""

import numpy as np
import tensorflow as tf

import peer


def main():
    given = peer.net_arguments(__doc__)
    tf.config.threading.set_intra_op_parallelism_threads(given.threads)
    tf.config.threading.set_inter_op_parallelism_threads(given.threads)
    tf.random.set_seed(0)
    network = Network(given.lrn, tf.bfloat16 if given.bf16 else tf.float32)
    if given.what == "train":
        data = [(tf.constant(x), tf.constant(y)) for x, y in peer.batches(given.data, peer.BATCH)]
        step = lambda number: float(network.train(*data[number % len(data)]))
        images_per_s = peer.trained(step, given.seconds)
    else:
        pixels = tf.constant(peer.images(given.data, given.batch)[0])
        score = lambda: network.scores(pixels).numpy()
        images_per_s = peer.rate(score, given.batch, given.seconds)
    peer.report(
        images_per_s=images_per_s,
        parameters=sum(int(np.prod(v.shape)) for v in network.variables.values()),
        version=tf.__version__,
    )


class Network:
    def __init__(self, lrn, kind):
        self.kind = kind
        self.lrn = self.builtin_lrn if lrn == "builtin" else self.band_lrn
        self.variables = {}
        for name, (shape, deviation, bias) in peer.LAYERS.items():
            weights = tf.random.truncated_normal(shape, stddev=deviation)
            self.variables[f"{name}/weights"] = tf.Variable(weights)
            self.variables[f"{name}/biases"] = tf.Variable(tf.fill(shape[-1:], bias))
        self.averages = {name: tf.Variable(v) for name, v in self.variables.items()}

    def read(self, name):
        """A variable in the type of the arithmetic; all of them are kept in f32."""
        return tf.cast(self.variables[name], self.kind)

    def conv(self, name, x):
        x = tf.nn.conv2d(x, self.read(f"{name}/weights"), 1, "SAME")
        return tf.nn.relu(tf.nn.bias_add(x, self.read(f"{name}/biases")))

    def dense(self, name, x):
        x = tf.matmul(x, self.read(f"{name}/weights"))
        return tf.nn.bias_add(x, self.read(f"{name}/biases"))

    def builtin_lrn(self, x):
        radius, alpha, beta = peer.LRN_RADIUS, peer.LRN_ALPHA, peer.LRN_BETA
        # The operation has no form for bf16 on a CPU.
        x = tf.cast(x, tf.float32)
        x = tf.nn.local_response_normalization(x, radius, bias=1.0, alpha=alpha, beta=beta)
        return tf.cast(x, self.kind)

    def band_lrn(self, x):
        channels = x.shape[-1]
        neighbours = tf.constant(peer.band(channels)[None, None], self.kind)
        squares = tf.nn.conv2d(x * x, neighbours, 1, "SAME")
        # d^(-3/4) as two roots.
        root = tf.math.rsqrt(squares * peer.LRN_ALPHA + 1.0)
        return x * (root * tf.sqrt(root))

    def logits(self, images):
        x = self.conv("conv1", tf.cast(images, self.kind))
        x = self.lrn(tf.nn.max_pool2d(x, 3, 2, "SAME"))
        x = self.lrn(self.conv("conv2", x))
        x = tf.nn.max_pool2d(x, 3, 2, "SAME")
        x = tf.reshape(x, [-1, 2304])
        x = tf.nn.relu(self.dense("local3", x))
        x = tf.nn.relu(self.dense("local4", x))
        return tf.cast(self.dense("softmax_linear", x), tf.float32)

    @tf.function
    def scores(self, images):
        return self.logits(images)

    @tf.function
    def train(self, images, labels):
        variables = list(self.variables.values())
        with tf.GradientTape() as tape:
            logits = self.logits(images)
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            decayed = [self.variables[f"{name}/weights"] for name in ["local3", "local4"]]
            decay = peer.WEIGHT_DECAY * tf.add_n([tf.nn.l2_loss(v) for v in decayed])
            loss = tf.reduce_mean(entropy) + decay
        for variable, gradient in zip(variables, tape.gradient(loss, variables)):
            variable.assign_sub(peer.LEARNING_RATE * gradient)
        for average, variable in zip(self.averages.values(), variables):
            average.assign_sub((1 - peer.AVERAGE_DECAY) * (average - variable))
        return loss


if __name__ == "__main__":
    main()
