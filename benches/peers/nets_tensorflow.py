"""The networks `residual` and `odd` of benches/nets in TensorFlow, as they would be written there.

    python benches/peers/nets_tensorflow.py [--net residual,odd] [--batch 128,256,512,1024] [--seconds 1]
        [--rounds 3] [--threads 2]

Prints a table in Markdown: the median time of a training step, and images/s. A step is a compiled
`tf.function` of forward pass, loss with weight decay, backward pass, plain gradient descent and
moving averages of all weights, and ends when its loss is a Python number. Images are noise that is
already in memory. As in `runtime sweep`, all are measured in turn, and the fastest round counts.
Needs tensorflow-cpu 2.21.0.
"""

import argparse
import os
import statistics
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = lambda text: [int(number) for number in text.split(",")]
    parser.add_argument("--net", type=lambda text: text.split(","), default=["residual", "odd"])
    parser.add_argument("--batch", type=numbers, default=[128, 256, 512, 1024])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


GIVEN = arguments()
# TensorFlow reads these when it is imported.
os.environ["OMP_NUM_THREADS"] = str(GIVEN.threads)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(GIVEN.threads)
tf.config.threading.set_inter_op_parallelism_threads(GIVEN.threads)

LEARNING_RATE = 0.1
AVERAGE_DECAY = 0.9999
WEIGHT_DECAY = 0.004
SIZE, CLASSES = 32, 10
WARM_UP_STEPS = 3
LEAST_STEPS = 5


def convolution(channels, stride=1, activation="relu"):
    return tf.keras.layers.Conv2D(channels, 3, strides=stride, padding="same", activation=activation)


def pool():
    return tf.keras.layers.MaxPool2D(2, 2, padding="same")


def residual():
    """Three blocks of 32, 64 and 128 channels; gives the network and its decayed layers."""
    images = tf.keras.Input((SIZE, SIZE, 3))
    x = images
    for channels, stride in [(32, 1), (64, 2), (128, 2)]:
        x = convolution(channels, stride)(x)
        inner = convolution(channels, activation=None)(convolution(channels)(x))
        x = tf.keras.layers.ReLU()(x + inner)
    scores = tf.keras.layers.Dense(CLASSES)
    return tf.keras.Model(images, scores(tf.keras.layers.Flatten()(pool()(x)))), [scores]


def odd():
    """Widths that no vector divides; gives the network and its decayed layers."""
    images = tf.keras.Input((SIZE, SIZE, 3))
    x = pool()(convolution(17)(convolution(3)(images)))
    x = pool()(convolution(17)(convolution(70)(x)))
    x = tf.keras.layers.Flatten()(pool()(convolution(70)(x)))
    hidden = tf.keras.layers.Dense(70, activation="relu")
    return tf.keras.Model(images, tf.keras.layers.Dense(CLASSES)(hidden(x))), [hidden]


def trainer(make):
    """A function that does a step of a new network and gives its loss."""
    network, decayed = make()
    weights = [variable.value for variable in network.trainable_variables]
    averages = [tf.Variable(weight) for weight in weights]

    @tf.function
    def step(images, labels):
        with tf.GradientTape() as tape:
            scores = network(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=scores)
            decay = tf.add_n([tf.nn.l2_loss(layer.kernel) for layer in decayed])
            loss = tf.reduce_mean(losses) + WEIGHT_DECAY * decay
        for weight, gradient in zip(weights, tape.gradient(loss, weights)):
            weight.assign_sub(LEARNING_RATE * gradient)
        for average, weight in zip(averages, weights):
            average.assign_sub((1 - AVERAGE_DECAY) * (average - weight))
        return loss

    return step


def median_s(step, batch, seconds):
    """The median time of a step."""
    images = tf.random.normal((batch, SIZE, SIZE, 3))
    labels = tf.random.uniform((batch,), 0, CLASSES, tf.int32)
    times = []
    begin = None
    while begin is None or len(times) < LEAST_STEPS or time.perf_counter() - begin < seconds:
        if len(times) == WARM_UP_STEPS and begin is None:
            times, begin = [], time.perf_counter()
        start = time.perf_counter()
        float(step(images, labels))
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    nets = {"residual": residual, "odd": odd}
    steps = {name: trainer(nets[name]) for name in GIVEN.net}
    best = {}
    for _ in range(GIVEN.rounds):
        for name, step in steps.items():
            for batch in GIVEN.batch:
                taken = median_s(step, batch, GIVEN.seconds)
                best[name, batch] = min(taken, best.get((name, batch), taken))
    print(f"TensorFlow {tf.__version__}, {GIVEN.threads} threads\n")
    print("| network | batch | ms | images/s |\n|---|--:|--:|--:|")
    for (name, batch), taken in best.items():
        print(f"| {name} | {batch} | {1e3 * taken:.1f} | {batch / taken:.0f} |")


main()
