"""A Keras network on TensorFlow: one model a fold, made into ONNX by tf2onnx, probabilities out.

Keras has channels last and the evaluator channels first; tf2onnx turns images and maps. Killed and
started again with the same --out, it goes on from the last epoch, which OUT/work keeps.
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from keras import callbacks, layers, ops

from command_line import arguments
from dataset import BundleDataset
from submission import OPSET, write_submission

SIZE = 128
PATIENCE = 10  # epochs without a better validation loss
BATCH = 8


def network() -> keras.Model:
    """Images (N, SIZE, SIZE, 1), from 0 to 1, to probabilities. Put your own network here."""
    image = keras.Input((SIZE, SIZE, 1))
    one = block(image, 16)
    two = block(layers.MaxPooling2D()(one), 32)
    up = layers.UpSampling2D()(block(layers.MaxPooling2D()(two), 64))
    two = block(layers.Concatenate()([two, up]), 32)
    one = block(layers.Concatenate()([one, layers.UpSampling2D()(two)]), 16)
    return keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(one))


def block(maps: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    for _ in range(2):
        maps = layers.Conv2D(filters, 3, padding="same", use_bias=False)(maps)
        maps = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(maps))
    return maps


def loss_of(truth: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy and Dice loss."""
    dice = 2 * ops.sum(found * truth) / (ops.sum(found) + ops.sum(truth) + 1e-6)
    return ops.mean(keras.losses.binary_crossentropy(truth, found)) + 1 - dice


def fit(cases: tuple[np.ndarray, ...], fold: int, epochs: int, work: Path) -> keras.Model:
    """A network trained on the cases that validate in other folds."""
    images, masks = (np.moveaxis(array, 1, -1) for array in cases[:2])
    seen = cases[2] != fold
    keras.utils.set_random_seed(fold)
    model = network()
    model.compile(keras.optimizers.AdamW(3e-3), loss_of)
    model.fit(
        images[seen],
        masks[seen],
        batch_size=BATCH,
        epochs=epochs,
        validation_data=(images[~seen], masks[~seen]),
        verbose=2,
        callbacks=[
            callbacks.EarlyStopping(patience=PATIENCE, restore_best_weights=True),
            callbacks.BackupAndRestore(work / f"fold-{fold}", delete_checkpoint=False),
            callbacks.LambdaCallback(  # `busbench` draws a bar of it
                on_epoch_end=lambda epoch, _: print(f"progress {epoch + 1}/{epochs} fold {fold}")
            ),
        ],
    )
    return model


def to_onnx(model: keras.Model) -> bytes:
    """One self-contained file with a free batch axis, channels first."""
    images = [tf.TensorSpec((None, SIZE, SIZE, 1), tf.float32, name="image")]
    made, _ = tf2onnx.convert.from_function(
        tf.function(lambda image: model(image, training=False), input_signature=images),
        input_signature=images,
        opset=OPSET,
        inputs_as_nchw=["image"],
        outputs_as_nchw=["Identity:0"],
    )
    return made.SerializeToString()


def main() -> None:
    options = arguments(epochs=40)
    cases = BundleDataset(options.bundle, size=SIZE).arrays()
    models: dict[int | None, bytes] = {}
    for fold in sorted(set(cases[2].tolist())):
        models[fold] = to_onnx(fit(cases, fold, options.epochs, options.out / "work"))
    write_submission(options.out, options.bundle, models, SIZE, "probabilities")


if __name__ == "__main__":
    main()
