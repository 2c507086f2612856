"""The first article's VGG19, written as its code has it: floats from 0 to 1 in, float32."""

import keras
from keras import layers

from malaria.models.base.system import find_system


def vgg19(size: int, learns_from: str | None) -> keras.Model:
    """Return VGG19 with the article's head, compiled; random weights, which cost the same.

    Convolutions learn from the layer `learns_from` on, or not at all.
    """
    body = keras.applications.VGG19(include_top=False, weights=None, input_shape=(size, size, 3))
    learns = False
    for layer in body.layers:
        learns = learns or layer.name == learns_from
        layer.trainable = learns
    x = layers.Flatten()(body.output)
    for _ in range(2):
        x = layers.Dropout(0.3)(layers.Dense(512, activation="relu")(x))
    model = keras.Model(body.input, layers.Dense(1, activation="sigmoid")(x))
    recipe = find_system("vgg19_finetuned" if learns_from else "vgg19_frozen").recipe
    model.compile(
        keras.optimizers.RMSprop(recipe.learning_rate),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
    return model
