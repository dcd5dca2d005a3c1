"""The tutorial's input pipeline in tf.data, in its fastest form: from memory, bytes shuffled."""

import tensorflow as tf

import peer


def distorted(image, label):
    x = tf.image.random_crop(tf.cast(image, tf.float32), [peer.CROP_PX, peer.CROP_PX, 3])
    x = tf.image.random_flip_left_right(x)
    x = tf.image.random_brightness(x, max_delta=63)
    x = tf.image.random_contrast(x, 0.2, 1.8)
    return tf.image.per_image_standardization(x), label


def main():
    given = peer.arguments(__doc__).parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(given.threads)
    tf.config.threading.set_inter_op_parallelism_threads(given.threads)
    data = tf.data.Dataset.from_tensor_slices(peer.training_images(given.data))
    data = data.shuffle(20_000).repeat().map(distorted, num_parallel_calls=tf.data.AUTOTUNE)
    batches = iter(data.batch(peer.BATCH).prefetch(tf.data.AUTOTUNE))
    images, _ = next(batches)
    assert images.shape == (peer.BATCH, peer.CROP_PX, peer.CROP_PX, 3)
    # AUTOTUNE takes some seconds to settle.
    images_per_s = peer.rate_of_many(lambda: next(batches), peer.BATCH, given.seconds, 6.0)
    peer.report(images_per_s=images_per_s, version=tf.__version__)


if __name__ == "__main__":
    main()
